"""Estimate the difference of two systems' scores on one test set, with confidence limits, by the paired bootstrap.

The method is that of Koehn 2004 (Statistical significance tests for machine translation evaluation). It works on
sacreBLEU's counts of each sentence, with the seed, the draws and the number of samples of sacreBLEU's `PairedTest`.
That class computes an interval for each system, but none for the difference of two systems.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric

SEED = 12345
SAMPLES = 1_000  # for levels up to 0.99, see LossGate
FEWEST = 100  # sentences; with fewer, the limits are too narrow, see docs/review-statistics.md

Counts = NDArray[np.float64]  # (N, K): K counts for each of N sentences; whole numbers, so that sums are exact


@dataclass(frozen=True)
class Difference:
    """The candidate's score minus the opponent's, in points."""

    points: float
    level: float  # confidence of each limit: at 0.95 the true difference is below the lower limit in 5 % of the reviews
    limits: tuple[float, float] | None  # lower and upper; None for fewer than FEWEST sentences
    standard_error: float | None


def sentence_counts(metric: Metric, texts: Sequence[str]) -> Counts:
    """Return a row of counts of `metric` for each text. `metric` holds the references. `score` takes a sum of rows."""
    return np.array(metric._extract_corpus_statistics(texts, None), dtype=np.float64)


def score(metric: Metric, counts: Any) -> float:
    """Return the score for one row of counts, which are those of a sentence or the sum over a corpus."""
    return float(metric._compute_score_from_stats(counts.tolist()).score)


def interval(metric: Metric, counts: Counts, level: float) -> tuple[float, float]:
    """Return the middle of the scores of resampled corpora that holds a share of `level`: 0.95 for 95 %."""
    low, high = np.quantile(_resampled(metric, counts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference(metric: Metric, candidate: Counts, opponent: Counts, level: float) -> Difference:
    """Return the candidate's score minus the opponent's on the same sentences, with confidence limits at `level`."""
    points = score(metric, candidate.sum(0)) - score(metric, opponent.sum(0))
    if len(candidate) < FEWEST:
        return Difference(points, level, None, None)
    resampled = _resampled(metric, candidate) - _resampled(metric, opponent)
    low, high = np.quantile(resampled, [1 - level, level])
    return Difference(points, level, (float(low), float(high)), float(resampled.std(ddof=1)))


def _resampled(metric: Metric, counts: Counts) -> NDArray[np.float64]:
    """Return the scores of SAMPLES corpora, drawn with replacement. The draws are the same for every system."""
    sentences = len(counts)
    drawn = np.random.default_rng(SEED).choice(sentences, size=(SAMPLES, sentences), replace=True)
    sums = np.stack([np.bincount(row, minlength=sentences) @ counts for row in drawn])
    return np.array([score(metric, row) for row in sums])
