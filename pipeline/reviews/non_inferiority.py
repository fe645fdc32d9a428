"""Test whether a candidate's score is worse than its opponent's by less than a margin: a test of non-inferiority.

The null hypothesis is that the candidate is worse by the margin or more. It is rejected, and the candidate passes, if
the upper confidence limit of its loss is within the margin. This bounds the error that harms users: a candidate that is
truly worse by the margin passes in at most 1 - level of the reviews. How often an equal candidate fails depends on the
number of sentences (see `sentences_needed`).

A candidate must pass on every test set, and each is tested at the full level. This is an intersection-union test
(Berger 1982). A candidate that is worse on one test set must pass on that one too, so no correction for several tests
is needed.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from .bootstrap import FEWEST, Difference

POWER = 0.8  # share of the reviews that an equal candidate should pass; if it is lower, the test set is too small

Verdict = Literal["pass", "fail", "inconclusive", "missing"]


@dataclass(frozen=True)
class Loss:
    """The judged loss of one score over all test sets."""

    limit: float | None  # upper confidence limit in points, on the worst test set
    verdict: Verdict
    needed: Mapping[str, int]  # test set that is too small -> sentences that it needs


def judge_loss(differences: Iterable[tuple[str, int, Difference]], margin: float) -> Loss:
    """Test the loss on every test set. `differences`: name, number of sentences and difference for each test set."""
    limits: list[float | None] = []
    verdicts: list[Verdict] = []
    needed: dict[str, int] = {}
    for name, sentences, difference in differences:
        limits.append(None if difference.limits is None else 0.0 - difference.limits[0])
        verdicts.append(_verdict(sentences, difference, margin))
        if verdicts[-1] == "inconclusive":
            needed[name] = sentences_needed(sentences, difference, margin)
    known = [limit for limit in limits if limit is not None]
    order: tuple[Verdict, ...] = ("missing", "fail", "inconclusive", "pass")
    verdict: Verdict = next((worst for worst in order if worst in verdicts), "missing")
    return Loss(max(known) if len(known) == len(limits) > 0 and verdict != "missing" else None, verdict, needed)


def sentences_needed(sentences: int, difference: Difference, margin: float) -> int:
    """Return how many sentences like these a test set needs, so that an equal candidate passes POWER of the reviews.

    The estimated difference of an equal candidate has a normal distribution around 0. Its standard error falls with the
    square root of the number of sentences. The candidate passes if the estimate is above z(level) standard errors minus
    the margin.
    """
    if difference.standard_error is None:
        return FEWEST
    normal = NormalDist()
    errors = normal.inv_cdf(difference.level) + normal.inv_cdf(POWER)  # standard errors that must fit into the margin
    return max(FEWEST, math.ceil(sentences * (errors * difference.standard_error / margin) ** 2))


def _verdict(sentences: int, difference: Difference, margin: float) -> Verdict:
    if not math.isfinite(difference.points):
        return "missing"
    if difference.limits is None:
        return "inconclusive"
    low, high = difference.limits
    if -low <= margin:
        return "pass"
    if margin <= 0 or -high > margin:  # a gain is required, or the loss is certainly beyond the margin
        return "fail"
    return "inconclusive" if sentences_needed(sentences, difference, margin) > sentences else "fail"
