"""The test of non-inferiority passes, fails, or says that a test set is too small."""

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from pipeline.reviews.bootstrap import FEWEST, Difference, difference, sentence_counts
from pipeline.reviews.non_inferiority import judge_loss, sentences_needed
from tests.reviews import sentences, worsen


def differing(points: float, error: float | None) -> Difference:
    limits = None if error is None else (points - 1.645 * error, points + 1.645 * error)
    return Difference(points, 0.95, limits, error)


@pytest.mark.parametrize(
    ("points", "error", "verdict"),
    [
        (0.0, 0.4, "pass"),
        (-0.4, 0.3, "pass"),
        (-0.6, 0.3, "fail"),  # precise enough, and not within the margin
        (0.0, 0.7, "inconclusive"),
        (-1.0, 0.7, "inconclusive"),  # the interval reaches 0 and a loss of 2
        (-3.0, 0.7, "fail"),  # surely beyond the margin, however few sentences there are
        (2.0, 0.7, "pass"),
        (5.0, None, "inconclusive"),  # too few sentences for limits
        (float("nan"), 0.1, "missing"),
    ],
)
def test_each_verdict_on_one_test_set(points: float, error: float | None, verdict: str) -> None:
    assert judge_loss([("test", 1000, differing(points, error))], margin=1.0).verdict == verdict


def test_a_candidate_must_pass_on_every_test_set() -> None:
    good, unsure, bad = (
        ("good", 900, differing(1.0, 0.2)),
        ("unsure", 100, differing(0.0, 1.0)),
        ("bad", 900, differing(-2.0, 0.2)),
    )
    assert judge_loss([good, good], 1.0).verdict == "pass"
    loss = judge_loss([good, unsure], 1.0)
    assert (loss.verdict, set(loss.needed)) == ("inconclusive", {"unsure"})
    assert loss.limit == pytest.approx(1.645)
    assert judge_loss([good, unsure, bad], 1.0).verdict == "fail"
    assert judge_loss([], 1.0).verdict == "missing"


def test_an_equal_candidate_fails_if_a_gain_is_required() -> None:
    assert judge_loss([("test", 100, differing(0.0, 0.7))], margin=-0.5).verdict == "fail"
    assert judge_loss([("test", 100, differing(0.0, 0.0))], margin=0.0).verdict == "pass"  # the same outputs


def test_with_the_needed_sentences_an_equal_candidate_passes_in_80_percent_of_the_reviews() -> None:
    needed = sentences_needed(500, differing(0.0, 0.9), margin=1.0)
    error = 0.9 * (500 / needed) ** 0.5
    estimates = np.random.default_rng(1).normal(0.0, error, 20_000)
    assert np.mean(-(estimates - 1.645 * error) <= 1.0) == pytest.approx(0.8, abs=0.01)
    assert sentences_needed(FEWEST, differing(0.0, None), margin=1.0) == FEWEST


def test_a_candidate_that_is_worse_by_the_margin_passes_in_5_percent_of_the_reviews() -> None:
    """The sentences are drawn from one large test set. Its difference is the true one."""
    references = sentences(2000, 1)
    metric = BLEU(references=[references])
    champion, candidate = (sentence_counts(metric, worsen(references, share, 7)) for share in (0.2, 0.23))
    margin = -difference(metric, candidate, champion, 0.95).points
    draw = np.random.default_rng(1)
    passed = 0
    for _ in range(200):
        rows = draw.integers(2000, size=200)
        found = difference(metric, candidate[rows], champion[rows], 0.95)
        passed += judge_loss([("", 200, found)], margin).verdict == "pass"
    assert 2 <= passed <= 20  # of 200, expected 10
