"""Owns whether two systems' scores on one test set differ by more than chance. What a score is belongs to sacreBLEU.

Paired bootstrap (Koehn 2004) and paired approximate randomisation (Riezler and Maxwell 2005) on sacreBLEU's statistics
of each sentence, with the seed, the random draws and the numbers of samples of its `PairedTest`. One thing differs:
`PairedTest` counts the samples whose difference is larger than the one seen, here those as large count as well. In
randomisation the systems as they are are one sample among the others; without ties, equal systems, and systems that
differ in one sentence of a thousand, would get p = 0.0001. The bootstrap's p is sacreBLEU's, of absolute differences
about their mean: between close systems it is smaller than randomisation's, which is the one to judge by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric

SEED = 12345
BOOTSTRAP_SAMPLES = 1_000
RANDOMISATION_SAMPLES = 10_000
CHUNK = 500  # samples in memory at once
TIE = 1e-9  # points: differences closer than this are equal, and apart only by rounding
TAIL = 2.5  # per cent below and above a 95 % interval

Counts = NDArray[np.float64]  # (N, K): K counts for each of N sentences; whole numbers, so that sums are exact


@dataclass(frozen=True)
class Difference:
    """The candidate's score minus the opponent's, in points. Interval and p-values: None for too few sentences."""

    points: float
    interval: tuple[float, float] | None  # 95 %, by the paired bootstrap
    bootstrap_p: float | None
    randomisation_p: float | None


def sentence_counts(metric: Metric, texts: Sequence[str]) -> Counts:
    """What `metric`, which holds the references, counts in each text. Sums of rows are scored by `score`."""
    return np.array(metric._extract_corpus_statistics(texts, None), dtype=np.float64)


def score(metric: Metric, counts: Any) -> float:
    """The score of one row of counts: a sentence's, or the sum of a corpus."""
    return float(metric._compute_score_from_stats(counts.tolist()).score)


def difference(metric: Metric, candidate: Counts, opponent: Counts, *, tested: bool) -> Difference:
    """How the candidate's score differs from the opponent's over the same sentences; `tested`: and how surely."""
    points = score(metric, candidate.sum(0)) - score(metric, opponent.sum(0))
    if not tested:
        return Difference(points, None, None, None)
    resampled = _bootstrap(metric, candidate) - _bootstrap(metric, opponent)
    low, high = np.percentile(resampled, [TAIL, 100 - TAIL])
    sizes = np.abs(resampled)
    bootstrap_p = _p_value(sizes - sizes.mean(), abs(points))
    randomisation_p = _p_value(_randomised(metric, candidate, opponent), abs(points))
    return Difference(points, (float(low), float(high)), bootstrap_p, randomisation_p)


def _bootstrap(metric: Metric, counts: Counts) -> NDArray[np.float64]:
    """Scores of corpora of as many sentences, drawn with replacement; every system sees the same draws."""
    sentences = len(counts)
    drawn = np.random.default_rng(SEED).choice(sentences, size=(BOOTSTRAP_SAMPLES, sentences), replace=True)
    return _scores(metric, np.stack([np.bincount(row, minlength=sentences) @ counts for row in drawn]))


def _randomised(metric: Metric, candidate: Counts, opponent: Counts) -> NDArray[np.float64]:
    """Sizes of the difference when, for each sentence, a coin decides which of the two texts is whose."""
    coins = np.random.default_rng(SEED).integers(2, size=(RANDOMISATION_SAMPLES, len(candidate)), dtype=bool)
    chunks = np.split(coins, RANDOMISATION_SAMPLES // CHUNK)
    one = candidate.sum(0) + np.concatenate([chunk.astype(np.float64) @ (opponent - candidate) for chunk in chunks])
    other = candidate.sum(0) + opponent.sum(0) - one
    return np.abs(_scores(metric, one) - _scores(metric, other))


def _scores(metric: Metric, sums: Counts) -> NDArray[np.float64]:
    return np.array([score(metric, row) for row in sums])


def _p_value(sizes: NDArray[np.float64], seen: float) -> float:
    """The share of the samples that are at least as large as what was seen, which is counted as one of them."""
    return (int((sizes >= seen - TIE).sum()) + 1) / (len(sizes) + 1)
