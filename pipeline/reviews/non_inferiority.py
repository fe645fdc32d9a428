"""Decide whether a candidate's score is worse than its opponent's by no more than a margin: a test of non-inferiority.

The null hypothesis is that the candidate is worse by the margin or more. It is rejected, and the candidate passes,
where the upper confidence limit of its loss is within the margin. So the error that is controlled is the one that
harms users: a candidate that is truly worse by the margin passes in at most 1 - level of the reviews. An equal one
that fails is the other error; it depends on the number of sentences, see `sentences_needed`.

A candidate must pass on every test set. To pass wrongly it must pass the test set on which it is worse, which happens
in at most 1 - level of the reviews, whatever the others say: an intersection-union test (Berger 1982), in which each
test set is tested at the full level and no correction is due. What falls with more test sets is the chance to pass.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from .bootstrap import FEWEST, Difference

POWER = 0.8  # an equal candidate is to pass in so many of the reviews; else the test set is too small for the margin

Verdict = Literal["pass", "fail", "inconclusive", "missing"]


@dataclass(frozen=True)
class Loss:
    """What is known of the loss of one score over all test sets."""

    limit: float | None  # upper confidence limit in points, on the worst test set
    verdict: Verdict
    needed: Mapping[str, int]  # test set that is too small -> sentences with which it would not be


def judge_loss(differences: Iterable[tuple[str, int, Difference]], margin: float) -> Loss:
    """Test the loss on every test set: its name, its sentences, the difference of the scores with its limits."""
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
    """Return how many sentences like these an equal candidate needs to pass in POWER of the reviews.

    The estimate of an equal candidate is normal about 0, and its standard error falls with the root of the number of
    sentences. It passes where the estimate is above z(level) standard errors less the margin.
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
    if margin <= 0 or -high > margin:  # a gain was asked for, or the loss is sure to be beyond the margin
        return "fail"
    return "inconclusive" if sentences_needed(sentences, difference, margin) > sentences else "fail"
