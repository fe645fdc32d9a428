"""Score translations by the length of the source, where a fixed vector becomes too small."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from ..data.languages import count_words, tokeniser_for
from ..reviews.bootstrap import interval, score, sentence_counts
from ..scoring.metrics import length_groups
from .members import Family, Member

LEVEL = 0.95  # of the intervals
JOINED = (1, 2, 3, 4, 6)  # how many neighbouring sentences are joined to one


@dataclass(frozen=True)
class Scored:
    """A score with its 95 % interval by the bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LengthScore:
    """Scores of sentences of about the same length."""

    words: str  # of the sources, such as 5-9
    mean_words: float
    sentences: int
    bleu: Scored
    chrf: Scored


def by_length(family: Family, hypotheses: Sequence[str]) -> list[LengthScore]:
    """Score the translations of the test set, by the number of words of the source. Empty groups are left out."""
    sources, references = family.sentences
    rows = []
    for words, chosen in length_groups(sources):
        source, reference, found = ([side[i] for i in chosen] for side in (sources, references, hypotheses))
        rows.append(_scored(words, source, reference, found, family.target_language))
    return rows


def joined(family: Family, member: Member) -> list[LengthScore]:
    """Score the translations of neighbouring test sentences that are joined to longer ones, in the order of JOINED."""
    rows = []
    for count in JOINED:
        sources, references = (list(_join(side, count)) for side in family.sentences)
        if sources:
            name = "1 sentence" if count == 1 else f"{count} sentences"
            rows.append(_scored(name, sources, references, member.translate(sources), family.target_language))
    return rows


def words_at_half(rows: Sequence[LengthScore]) -> float | None:
    """Return the length, in words, at which BLEU is half of that of the first row.

    Between two rows BLEU is taken to be linear. None: it does not fall so far.
    """
    half = rows[0].bleu.value / 2
    for shorter, longer in zip(rows, rows[1:], strict=False):
        high, low = shorter.bleu.value, longer.bleu.value
        if high >= half > low:
            return shorter.mean_words + (longer.mean_words - shorter.mean_words) * (high - half) / (high - low)
    return None


def _join(sentences: Sequence[str], count: int) -> Iterator[str]:
    """Yield `count` sentences at a time as one. A rest at the end is left out."""
    for start in range(0, len(sentences) - count + 1, count):
        yield " ".join(sentences[start : start + count])


def _scored(
    words: str, sources: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], language: str
) -> LengthScore:
    bleu = BLEU(tokenize=tokeniser_for(language), references=[references])
    chrf = CHRF(references=[references])
    mean = sum(map(count_words, sources)) / len(sources)
    return LengthScore(words, mean, len(sources), _interval(bleu, hypotheses), _interval(chrf, hypotheses))


def _interval(metric: Metric, hypotheses: Sequence[str]) -> Scored:
    counts = sentence_counts(metric, hypotheses)
    return Scored(score(metric, counts.sum(0)), *interval(metric, counts, LEVEL))
