"""Score hypotheses with sacreBLEU's BLEU and chrF2 of detokenised text, length ratio, and simple counts.

sacreBLEU's signatures say which tokeniser and which version were used.
"""

from collections.abc import Iterator, Mapping, Sequence

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from ..data.languages import count_words, tokeniser_for
from .facts import LengthScores, SystemName, SystemScores

# Shortest and longest source of each bucket, in words (see languages.count_words).
BUCKETS = ((1, 4), (5, 9), (10, 19), (20, 29), (30, None))


class Scorer:
    """Scores hypotheses against the references of one test set."""

    def __init__(self, sources: Sequence[str], references: Sequence[str], target_language: str) -> None:
        self.sources = sources
        self.references = references
        self.tokeniser = tokeniser_for(target_language)
        self._bleu = BLEU(tokenize=self.tokeniser, references=[references])
        self._chrf = CHRF(references=[references])

    @property
    def signatures(self) -> dict[str, str]:
        """sacreBLEU's signatures of BLEU and chrF."""
        return {"bleu": str(self._bleu.get_signature()), "chrf": str(self._chrf.get_signature())}

    def score(self, hypotheses: Sequence[str]) -> SystemScores:
        """Return BLEU and chrF2 with 95 % intervals, length ratio, and the shares of empty and copied hypotheses."""
        bleu = self._bleu.corpus_score(hypotheses, None)
        chrf = self._chrf.corpus_score(hypotheses, None)
        copied = sum(h == s for h, s in zip(hypotheses, self.sources, strict=True))
        return SystemScores(
            bleu=round(bleu.score, 2),
            bleu_interval=_interval(self._bleu, hypotheses),
            chrf=round(chrf.score, 2),
            chrf_interval=_interval(self._chrf, hypotheses),
            length_ratio=round(bleu.ratio, 3),  # tokens of the hypotheses / of the references
            empty=round(sum(not h for h in hypotheses) / len(hypotheses), 4),
            copied=round(copied / len(hypotheses), 4),
        )

    def bleu_by_length(self, systems: Mapping[SystemName, Sequence[str]]) -> list[LengthScores]:
        """Return the BLEU of each system on each bucket of source lengths. Empty buckets are left out."""
        rows = []
        for words, chosen in length_groups(self.sources):
            bleu = BLEU(tokenize=self.tokeniser, references=[[self.references[i] for i in chosen]])
            scores = {name: bleu.corpus_score([h[i] for i in chosen], None).score for name, h in systems.items()}
            rows.append(
                LengthScores(
                    words=words,
                    sentences=len(chosen),
                    bleu={name: round(score, 2) for name, score in scores.items()},
                )
            )
        return rows


def length_groups(sources: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield each bucket of lengths, such as 5-9 or 30+, with the numbers of its sources. Empty ones are left out."""
    lengths = [count_words(source) for source in sources]
    for first, last in BUCKETS:
        chosen = [i for i, n in enumerate(lengths) if first <= n and (last is None or n <= last)]
        if chosen:
            yield (f"{first}-{last}" if last else f"{first}+"), chosen


def _interval(metric: Metric, hypotheses: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % confidence interval of a score, by sacreBLEU's bootstrap of 1,000 resamples with a fixed seed.

    The interval is the mean of the resamples plus and minus half the width of their middle 95 %.
    """
    _, columns = PairedTest([("system", hypotheses)], {"metric": metric}, references=None, test_type="bs")()
    (result,) = (column[0] for name, column in columns.items() if name != "System")
    assert isinstance(result, Result)
    assert result.mean is not None
    assert result.ci is not None
    low, high = float(result.mean - result.ci), float(result.mean + result.ci)
    return round(max(0.0, low), 2), round(min(high, 100.0), 2)  # symmetric around the mean, so it could leave the scale
