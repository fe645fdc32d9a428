"""Differences and their limits equal formulas computed by hand, and sacreBLEU's own draws."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from pipeline.reviews.bootstrap import FEWEST, Difference, difference, sentence_counts
from tests.by_hand import bleu_by_hand, chrf_by_hand
from tests.reviews import sentences, worsen

REFERENCES = sentences(100, 1)
SYSTEMS = [worsen(REFERENCES, 0.2, 2), worsen(REFERENCES, 0.3, 3)]


def measure(metric: Metric, candidate: Sequence[str], opponent: Sequence[str], level: float = 0.95) -> Difference:
    return difference(metric, sentence_counts(metric, candidate), sentence_counts(metric, opponent), level)


@pytest.mark.parametrize(("kind", "by_hand"), [(BLEU, bleu_by_hand), (CHRF, chrf_by_hand)])
def test_differences_and_their_limits_are_those_computed_by_hand(
    kind: type[BLEU] | type[CHRF],
    by_hand: Callable[[Sequence[tuple[str, str]]], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = 60  # as many as can be computed by hand in a second
    monkeypatch.setattr("pipeline.reviews.bootstrap.SAMPLES", samples)
    measured = measure(kind(references=[REFERENCES]), SYSTEMS[0], SYSTEMS[1], 0.9)
    pairs = [list(zip(system, REFERENCES, strict=True)) for system in SYSTEMS]

    def apart(one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]) -> float:
        return by_hand(one) - by_hand(other)

    assert measured.points == pytest.approx(apart(*pairs), abs=1e-9)
    rows = np.random.default_rng(12345).choice(100, size=(samples, 100), replace=True)
    resampled = [apart(*([side[i] for i in row] for side in pairs)) for row in rows]
    assert measured.limits == pytest.approx(tuple(np.quantile(resampled, [0.1, 0.9])), abs=1e-9)
    assert measured.standard_error == pytest.approx(np.std(resampled, ddof=1), abs=1e-9)


@pytest.mark.parametrize("kind", [BLEU, CHRF])
def test_the_draws_are_those_of_sacrebleu(kind: type[BLEU] | type[CHRF]) -> None:
    """Against texts that score nothing, the mean of the upper and lower limit is where sacreBLEU's interval is."""
    metric = kind(references=[REFERENCES])
    measured = measure(metric, SYSTEMS[0], [""] * 100, level=0.975)
    _, columns = PairedTest([("system", SYSTEMS[0])], {"metric": metric}, references=None, test_type="bs")()
    (result,) = (column[0] for name, column in columns.items() if name != "System")
    assert isinstance(result, Result)
    assert measured.limits
    assert (measured.limits[1] - measured.limits[0]) / 2 == pytest.approx(result.ci, abs=0.1)


def test_exchanging_the_systems_changes_only_the_sign() -> None:
    metric = BLEU(references=[REFERENCES])
    there, back = measure(metric, SYSTEMS[0], SYSTEMS[1]), measure(metric, SYSTEMS[1], SYSTEMS[0])
    assert there.points == -back.points
    assert there.limits
    assert back.limits == pytest.approx((-there.limits[1], -there.limits[0]))
    assert there.standard_error == pytest.approx(back.standard_error)


def test_equal_systems_do_not_differ() -> None:
    measured = measure(BLEU(references=[REFERENCES]), SYSTEMS[0], list(SYSTEMS[0]))
    assert measured == Difference(0.0, 0.95, (0.0, 0.0), 0.0)


def test_the_limits_of_a_clear_difference_are_above_zero() -> None:
    measured = measure(BLEU(references=[REFERENCES]), REFERENCES, SYSTEMS[1])
    assert measured.points > 20
    assert measured.limits
    assert measured.limits[0] > 0


def test_too_few_sentences_have_no_limits() -> None:
    few = [lines[: FEWEST - 1] for lines in (REFERENCES, *SYSTEMS)]
    measured = measure(BLEU(references=[few[0]]), few[1], few[2])
    assert (measured.limits, measured.standard_error) == (None, None)
    assert measured.points
