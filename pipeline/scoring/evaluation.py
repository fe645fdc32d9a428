"""Evaluate a model on a test set: translate it, and score the translations of the model and of the baselines.

The model sees only the sources. Its hypotheses come from free decoding, never from teacher forcing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from accelerate import Accelerator

from ..data.splits import read_split
from ..plumbing.params import EvaluateSettings
from ..seq2seq.decoding import translate_all
from ..seq2seq.translator import Translation, Translator
from .baselines import TranslationMemory
from .facts import ScoredTestSet, SystemName, Timing
from .metrics import Scorer

Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoding:
    """A test set and the model's translations of it."""

    name: str
    sources: list[str]
    references: list[str]
    beam: list[Translation]
    greedy: list[Translation]
    seconds: dict[SystemName, float]  # for beam and greedy, until the last process had finished


@dataclass(frozen=True)
class Evaluation:
    """A test set, and the hypotheses and scores of all systems. Every text is one line."""

    name: str
    sources: list[str]
    references: list[str]
    hypotheses: dict[SystemName, list[str]]
    translations: list[Translation]  # of the beam search, with their attention
    scores: ScoredTestSet  # the same in every run
    signatures: dict[str, str]
    timing: dict[SystemName, Timing]  # differs from run to run


def decode_split(
    path: Path,
    translator: Translator,
    settings: EvaluateSettings,
    accelerator: Accelerator,
    advance: Callable[[int], object],
) -> Decoding:
    """Translate a test set with greedy and with beam search. All processes share the work, and each gets the result.

    `advance` is called with the number of sentences translated since the last call. Each sentence counts twice, once
    for each search.
    """
    sources, references = read_split(path)

    def decode(beam_size: int) -> list[Translation]:
        return translate_all(translator, sources, accelerator, beam_size, settings.length_penalty, advance)

    greedy, greedy_seconds = _timed(lambda: decode(1))
    beam, beam_seconds = _timed(lambda: decode(settings.beam_size))
    return Decoding(path.stem, sources, references, beam, greedy, {"beam": beam_seconds, "greedy": greedy_seconds})


def evaluate_split(decoding: Decoding, memory: TranslationMemory, target_language: str) -> Evaluation:
    """Translate the test set with the baselines too, and score all systems."""
    sources, references = decoding.sources, decoding.references
    remembered, memory_seconds = _timed(lambda: memory.translate(sources))
    hypotheses: dict[SystemName, list[str]] = {
        "beam": [translation.text for translation in decoding.beam],
        "greedy": [translation.text for translation in decoding.greedy],
        "memory": remembered,
        "copy": sources,
    }
    scorer = Scorer(sources, references, target_language)
    charted: dict[SystemName, list[str]] = {name: lines for name, lines in hypotheses.items() if name != "greedy"}
    scores = ScoredTestSet(
        sentences=len(sources),
        systems={name: scorer.score(lines) for name, lines in hypotheses.items()},
        by_length=scorer.bleu_by_length(charted),
    )
    seconds: dict[SystemName, float] = {**decoding.seconds, "memory": memory_seconds}
    timing = {
        name: Timing(seconds=round(elapsed, 3), sentences_per_second=round(len(sources) / elapsed, 1))
        for name, elapsed in seconds.items()
    }
    signatures = scorer.signatures
    return Evaluation(decoding.name, sources, references, hypotheses, decoding.beam, scores, signatures, timing)


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Call `work`. Return its result and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start
