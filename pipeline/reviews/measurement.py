"""Translate the test sets with the packaged models, and measure how fast they are.

Each model runs in a process of its own, with the parameters that it was evaluated with. The models take turns, so that
anything that slows the machine down slows all of them down. This module judges nothing.

A model accepts sentences up to a limit (registry/limits.py), and a test set may have longer ones. These are left out
for both models. But a sentence that is too long only for the candidate stays, with an empty translation, because a
candidate must not choose what it is tested on.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..data.text import normal_form
from ..plumbing.errors import UserError
from ..registry.limits import TOO_LONG
from ..registry.sandbox.sandboxed_model import SandboxedModel, SandboxedTranslation
from .comparison import CANDIDATE, OPPONENT, Speed

TURN = 64  # sentences that one model translates before the next model's turn
SINGLES = 100  # sentences that are also translated one by one
UNKNOWN = re.compile(r"<unk>|<0x[0-9A-F]{2}>")  # the piece for unknown text, or a piece for one byte of such text


@dataclass(frozen=True)
class Measurement:
    """The translations of one model, and its speed."""

    texts: Mapping[str, list[str]]  # test set -> translations, each one line
    unknown_pieces: Mapping[str, float]  # test set -> share of the sources' pieces
    speed: Speed
    too_long: Mapping[str, Sequence[int]]  # test set -> indices of sentences that are too long; their texts are empty


@dataclass(frozen=True)
class TooLong:
    """The lines of each test set, counted from 1, that are too long for a model. Test sets without any are missing."""

    left_out: Mapping[str, Sequence[int]] = field(default_factory=dict)
    empty: Mapping[str, Sequence[int]] = field(default_factory=dict)  # too long for the candidate alone


def measure_models(
    models: Mapping[str, SandboxedModel], test_sets: Mapping[str, Sequence[str]], advance: Callable[[int], object]
) -> dict[str, Measurement]:
    """Translate the sources of all test sets with every model. `advance` is called with the number of new translations.

    Raise UserError if every sentence of a test set is too long for one of the models.
    """
    outputs: dict[str, dict[str, list[SandboxedTranslation | None]]] = {name: {} for name in models}
    seconds = dict.fromkeys(models, 0.0)
    everything = [source for sources in test_sets.values() for source in sources]
    for model in models.values():
        model.explain(everything[:2])  # the first call is slow
    for test_set, sources in test_sets.items():
        for start in range(0, len(sources), TURN):
            for name, model in models.items():
                turn = sources[start : start + TURN]
                answers, took = model.explain(turn)
                outputs[name].setdefault(test_set, []).extend(answers)
                seconds[name] += took
                advance(len(turn))
    singles = _spread(_short_enough(test_sets, list(outputs.values())), SINGLES)
    latencies: dict[str, list[float]] = {name: [] for name in models}
    for sentence in singles:
        for name, model in models.items():
            latencies[name].append(model.translate([sentence])[1])
    return {
        name: _measurement(found, len(everything) / seconds[name], latencies[name]) for name, found in outputs.items()
    }


def _measurement(
    outputs: Mapping[str, Sequence[SandboxedTranslation | None]], rate: float, latencies: Sequence[float]
) -> Measurement:
    """Return the measurement of one model. `rate`: sentences per second; `latencies`: seconds for single sentences."""
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return Measurement(
        {name: [normal_form(output.text) if output else "" for output in found] for name, found in outputs.items()},
        {name: _unknown_share(found) for name, found in outputs.items()},
        Speed(round(rate, 1), round(float(p50), 1), round(float(p99), 1)),
        {name: [index for index, output in enumerate(found) if output is None] for name, found in outputs.items()},
    )


def find_too_long(measurements: Mapping[str, Measurement]) -> TooLong:
    """Return the lines that were too long.

    Lines that are too long for the champion are left out of the comparison. If there is no champion, lines that are too
    long for the candidate are left out.
    """
    if not measurements:
        return TooLong()
    candidate, deciding = measurements[CANDIDATE].too_long, measurements.get(OPPONENT, measurements[CANDIDATE]).too_long
    alone = {name: set(indices) - set(deciding[name]) for name, indices in candidate.items()}
    return TooLong(_lines(deciding), _lines(alone))


def _lines(found: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
    lines = {name: [index + 1 for index in sorted(indices)] for name, indices in found.items()}
    return {name: numbers for name, numbers in lines.items() if numbers}


def _short_enough(
    test_sets: Mapping[str, Sequence[str]], outputs: Sequence[Mapping[str, Sequence[SandboxedTranslation | None]]]
) -> list[str]:
    """Return the sentences of all test sets that every model has translated."""
    found = []
    for name, sources in test_sets.items():
        columns = zip(*(of_model[name] for of_model in outputs), strict=True)
        short = [source for source, column in zip(sources, columns, strict=True) if None not in column]
        if not short:
            raise UserError(
                f"test set {name}: each of its {len(sources):,} lines is {TOO_LONG}; "
                "cut the lines into sentences, on both sides"
            )
        found += short
    return found


def _spread(sentences: Sequence[str], count: int) -> list[str]:
    """Return at most `count` sentences, evenly spread over all of them."""
    return [sentences[i] for i in np.linspace(0, len(sentences) - 1, min(count, len(sentences))).astype(int)]


def _unknown_share(outputs: Sequence[SandboxedTranslation | None]) -> float:
    pieces = [piece for output in outputs if output for piece in output.source_tokens]
    return sum(bool(UNKNOWN.fullmatch(piece)) for piece in pieces) / max(1, len(pieces))
