"""Owns the evaluation of one test set: what each system makes of its sources, and how it scores.

The model only ever sees the source: its hypotheses come from free decoding, never from teacher forcing. Writes nothing.
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
    """A test set and the model's translations of it; every text of the test set is one line."""

    name: str
    sources: list[str]
    references: list[str]
    beam: list[Translation]
    greedy: list[Translation]
    seconds: dict[SystemName, float]  # beam, greedy: until the last process was done


@dataclass(frozen=True)
class Evaluation:
    """A test set with all hypotheses; every text is one line."""

    name: str
    sources: list[str]
    references: list[str]
    hypotheses: dict[SystemName, list[str]]  # of each system
    translations: list[Translation]  # what the beam's hypotheses come from
    scores: ScoredTestSet  # reproducible
    signatures: dict[str, str]
    timing: dict[SystemName, Timing]  # differs from run to run


def decode_split(
    path: Path,
    translator: Translator,
    settings: EvaluateSettings,
    accelerator: Accelerator,
    advance: Callable[[int], object],
) -> Decoding:
    """Translate a test set greedily and with the beam; all processes together, all get the whole.

    `advance` is told how many sentences were decoded, twice the test set's in all.
    """
    sources, references = read_split(path)

    def decode(beam_size: int) -> list[Translation]:
        return translate_all(translator, sources, accelerator, beam_size, settings.length_penalty, advance)

    greedy, greedy_seconds = _timed(lambda: decode(1))
    beam, beam_seconds = _timed(lambda: decode(settings.beam_size))
    return Decoding(path.stem, sources, references, beam, greedy, {"beam": beam_seconds, "greedy": greedy_seconds})


def evaluate_split(decoding: Decoding, memory: TranslationMemory, target_language: str) -> Evaluation:
    """Score what was decoded beside the baselines."""
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
    """What `work` returns, and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start
