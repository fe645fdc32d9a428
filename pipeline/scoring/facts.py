"""Define types for what the manifest of an evaluation records."""

from typing import Annotated, Literal

from pydantic import Field

from ..plumbing.facts import Execution, Facts, Part

SystemName = Literal["beam", "greedy", "memory", "copy"]
Interval = Annotated[tuple[float, float], Field(strict=False)]  # lowest, highest; a list in JSON


class SystemScores(Part):
    """One system's scores on a whole test set, with 95 % intervals."""

    bleu: float
    bleu_interval: Interval
    chrf: float
    chrf_interval: Interval
    length_ratio: float  # tokens of the hypotheses / of the references
    empty: float  # share of the hypotheses
    copied: float  # share of the hypotheses


class LengthScores(Part):
    """BLEU on the sentences whose sources have a similar number of words."""

    words: str  # such as 5-9 or 30+
    sentences: int
    bleu: dict[SystemName, float]


class ScoredTestSet(Part):
    sentences: int
    systems: dict[SystemName, SystemScores] = Field(min_length=4)  # all of them
    by_length: list[LengthScores]


class Example(Part):
    """A sentence of a test set, with the translation that beam search found."""

    test_set: str
    source: str
    reference: str
    hypothesis: str


class EvaluationFacts(Facts):
    test_sets: dict[str, ScoredTestSet] = Field(min_length=1)
    signatures: dict[str, str]  # bleu, chrf -> sacreBLEU's signature
    examples: list[Example]  # drawn at random


class Timing(Part):
    seconds: float
    sentences_per_second: float


class EvaluationExecution(Execution):
    timing: dict[str, dict[SystemName, Timing]]  # by test set
