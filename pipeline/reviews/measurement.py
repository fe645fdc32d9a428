"""Owns what packaged models do with test sets: their outputs and how fast they are, side by side.

Each model is a model, a process of its own, with its own default params. They take turns, so that what slows the
machine slows both. Judges nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.text import normal_form
from ..plumbing.errors import UserError
from ..registry.limits import TOO_LONG
from ..registry.sandbox.sandboxed_model import SandboxedModel, SandboxedTranslation
from .comparison import Speed

TURN = 64  # sentences that one translates before it is the other's turn
SINGLES = 100  # sentences that are also translated one by one
UNKNOWN = re.compile(r"<unk>|<0x[0-9A-F]{2}>")  # a piece for what no piece stands for, or one of its bytes


@dataclass(frozen=True)
class Measurement:
    """What one model did."""

    texts: Mapping[str, list[str]]  # test set -> translations, each one line
    unknown_pieces: Mapping[str, float]  # test set -> share of the sources' pieces
    speed: Speed
    too_long: Mapping[str, Sequence[int]]  # test set -> places of sentences too long for it; their texts are empty


def measure_models(
    models: Mapping[str, SandboxedModel], test_sets: Mapping[str, Sequence[str]], advance: Callable[[int], object]
) -> dict[str, Measurement]:
    """Let all models translate the sources of all test sets. `advance` is told how many sentences one more has done.

    UserError where each sentence of a test set is too long for one of them.
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
        name: Measurement(
            {
                test_set: [normal_form(output.text) if output else "" for output in found]
                for test_set, found in outputs[name].items()
            },
            {test_set: _unknown_share(found) for test_set, found in outputs[name].items()},
            _speed(len(everything) / seconds[name], latencies[name]),
            {
                test_set: [place for place, output in enumerate(found) if output is None]
                for test_set, found in outputs[name].items()
            },
        )
        for name in models
    }


def _short_enough(
    test_sets: Mapping[str, Sequence[str]], outputs: Sequence[Mapping[str, Sequence[SandboxedTranslation | None]]]
) -> list[str]:
    """The sentences of all test sets that all models have translated."""
    found = []
    for name, sources in test_sets.items():
        columns = zip(*(of_model[name] for of_model in outputs), strict=True)
        short = [source for source, column in zip(sources, columns, strict=True) if None not in column]
        if not short:
            raise UserError(
                f"test set {name}: each of its {len(sources):,} sentences is {TOO_LONG}; "
                "cut them into sentences, on both sides"
            )
        found += short
    return found


def _spread(sentences: Sequence[str], count: int) -> list[str]:
    """At most `count` sentences, evenly from the whole."""
    return [sentences[i] for i in np.linspace(0, len(sentences) - 1, min(count, len(sentences))).astype(int)]


def _unknown_share(outputs: Sequence[SandboxedTranslation | None]) -> float:
    pieces = [piece for output in outputs if output for piece in output.source_tokens]
    return sum(bool(UNKNOWN.fullmatch(piece)) for piece in pieces) / max(1, len(pieces))


def _speed(sentences_per_second: float, latencies: Sequence[float]) -> Speed:
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return Speed(round(sentences_per_second, 1), round(float(p50), 1), round(float(p99), 1))
