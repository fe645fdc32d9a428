"""Owns the evaluation of one test set: what each system makes of its sources, and how it scores.

The model only ever sees the source: its hypotheses come from free decoding, never from teacher forcing. Writes nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .baselines import TranslationMemory
from .metrics import Scorer
from .params import EvaluateSettings
from .splits import one_line, read_split
from .translator import Translation, Translator

Result = TypeVar("Result")

CHUNK = 250  # sentences between two reports of progress


@dataclass(frozen=True)
class Evaluation:
    """A test set with all hypotheses; every text is one line."""

    name: str
    sources: list[str]
    references: list[str]
    hypotheses: dict[str, list[str]]  # of each system: beam, greedy, memory, copy
    translations: list[Translation]  # what the beam's hypotheses come from
    scores: dict[str, Any]  # reproducible
    signatures: dict[str, str]
    timing: dict[str, Any]  # differs from run to run


def evaluate_split(
    path: Path,
    translator: Translator,
    memory: TranslationMemory,
    target_language: str,
    settings: EvaluateSettings,
    advance: Callable[[int], object],
) -> Evaluation:
    """Decode a test set greedily and with the beam, and score both beside the baselines.

    `advance` is told how many sentences were decoded, twice the test set's in all.
    """
    sources, references = read_split(path)
    penalty = settings.length_penalty
    greedy, greedy_seconds = _timed(lambda: _decode(translator, sources, 1, penalty, advance))
    beam, beam_seconds = _timed(lambda: _decode(translator, sources, settings.beam_size, penalty, advance))
    remembered, memory_seconds = _timed(lambda: memory.translate(sources))
    hypotheses = {
        "beam": [one_line(translation.text) for translation in beam],
        "greedy": [one_line(translation.text) for translation in greedy],
        "memory": remembered,
        "copy": sources,
    }
    scorer = Scorer(sources, references, target_language)
    scores = {
        "sentences": len(sources),
        "systems": {name: scorer.score(lines) for name, lines in hypotheses.items()},
        "by_length": scorer.bleu_by_length({name: hypotheses[name] for name in ("beam", "memory", "copy")}),
    }
    seconds = {"beam": beam_seconds, "greedy": greedy_seconds, "memory": memory_seconds}
    timing = {
        name: {"seconds": round(elapsed, 3), "sentences_per_second": round(len(sources) / elapsed, 1)}
        for name, elapsed in seconds.items()
    }
    return Evaluation(path.stem, sources, references, hypotheses, beam, scores, scorer.signatures, timing)


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` returns, and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _decode(
    translator: Translator, sources: list[str], beam_size: int, length_penalty: float, advance: Callable[[int], object]
) -> list[Translation]:
    """Translations in the order of `sources`; chunks hold sentences of like length, which make full batches."""
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    translations: dict[int, Translation] = {}
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        decoded = translator.translate([sources[i] for i in chunk], beam_size, length_penalty)
        translations.update(zip(chunk, decoded, strict=True))
        advance(len(chunk))
    return [translations[i] for i in range(len(sources))]
