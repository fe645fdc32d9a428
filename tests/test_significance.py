"""Differences and their p-values, against the formulas written out and against sacreBLEU's own tests."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from pipeline.reviews.significance import Difference, difference, sentence_counts
from tests.reviews import sentences, worsen

REFERENCES = sentences(30, 1)
SYSTEMS = [worsen(REFERENCES, 0.2, 2), worsen(REFERENCES, 0.3, 3)]


def bleu_by_hand(pairs: Sequence[tuple[str, str]]) -> float:
    """Papineni et al. 2002; the words of these texts are what white space separates, their full stop apart."""
    matches, totals = [0.0] * 4, [0.0] * 4
    lengths = [0, 0]
    for text, reference in pairs:
        words = [side.replace(".", " .").split() for side in (text, reference)]
        lengths = [length + len(side) for length, side in zip(lengths, words, strict=True)]
        for n in range(1, 5):
            seen, known = (Counter(tuple(side[i : i + n]) for i in range(len(side) - n + 1)) for side in words)
            matches[n - 1] += sum((seen & known).values())
            totals[n - 1] += sum(seen.values())
    assert all(matches)  # no smoothing is needed
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * brevity * math.exp(sum(math.log(m / t) for m, t in zip(matches, totals, strict=True)) / 4)


def chrf_by_hand(pairs: Sequence[tuple[str, str]]) -> float:
    """Popovic 2015, with beta 2: precision and recall of 1 to 6 characters, averaged, then combined."""
    precisions, recalls = [], []
    for n in range(1, 7):
        counts = np.zeros(3)
        for pair in pairs:
            characters = ["".join(side.split()) for side in pair]
            seen, known = (Counter(side[i : i + n] for i in range(len(side) - n + 1)) for side in characters)
            counts += [sum((seen & known).values()), sum(seen.values()), sum(known.values())]
        precisions.append(counts[0] / counts[1])
        recalls.append(counts[0] / counts[2])
    precision, recall = np.mean(precisions), np.mean(recalls)
    return float(100 * 5 * precision * recall / (4 * precision + recall))


def measure(metric: Metric, candidate: Sequence[str], opponent: Sequence[str], *, tested: bool = True) -> Difference:
    return difference(metric, sentence_counts(metric, candidate), sentence_counts(metric, opponent), tested=tested)


@pytest.mark.parametrize(("kind", "by_hand"), [(BLEU, bleu_by_hand), (CHRF, chrf_by_hand)])
def test_differences_and_p_values_are_those_computed_by_hand(
    kind: type[BLEU] | type[CHRF],
    by_hand: Callable[[Sequence[tuple[str, str]]], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = 60  # as many as can be computed by hand in a second
    monkeypatch.setattr("pipeline.reviews.significance.BOOTSTRAP_SAMPLES", samples)
    monkeypatch.setattr("pipeline.reviews.significance.RANDOMISATION_SAMPLES", samples)
    monkeypatch.setattr("pipeline.reviews.significance.CHUNK", 20)
    measured = measure(kind(references=[REFERENCES]), *SYSTEMS)
    pairs = [list(zip(system, REFERENCES, strict=True)) for system in SYSTEMS]

    def apart(one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]) -> float:
        return by_hand(one) - by_hand(other)

    def p_value(sizes: NDArray[np.float64]) -> float:
        return (int((sizes >= abs(measured.points) - 1e-9).sum()) + 1) / (samples + 1)

    assert measured.points == pytest.approx(apart(*pairs), abs=1e-9)
    rows = np.random.default_rng(12345).choice(30, size=(samples, 30), replace=True)
    resampled = np.array([apart(*([side[i] for i in row] for side in pairs)) for row in rows])
    assert measured.bootstrap_p == p_value(np.abs(resampled) - np.abs(resampled).mean())
    assert measured.interval == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=1e-9)
    coins = np.random.default_rng(12345).integers(2, size=(samples, 30), dtype=bool)
    shuffled = [[[pairs[coin ^ swap][i] for i, coin in enumerate(row)] for swap in (0, 1)] for row in coins.astype(int)]
    assert measured.randomisation_p == p_value(np.abs([apart(one, other) for one, other in shuffled]))


@pytest.mark.parametrize("kind", [BLEU, CHRF])
def test_where_nothing_ties_the_p_values_are_those_of_sacrebleu(kind: type[BLEU] | type[CHRF]) -> None:
    metric = kind(references=[REFERENCES])
    measured = measure(metric, *SYSTEMS)
    theirs = []
    for test in ("bs", "ar"):
        named: list[tuple[str, Sequence[str]]] = [("opponent", SYSTEMS[1]), ("candidate", SYSTEMS[0])]
        _, columns = PairedTest(named, {"metric": metric}, references=None, test_type=test)()
        (result,) = (column[1] for name, column in columns.items() if name != "System")
        assert isinstance(result, Result)
        theirs.append(result.p_value)
    assert [measured.bootstrap_p, measured.randomisation_p] == theirs


def test_exchanged_systems_differ_by_as_much_and_as_surely() -> None:
    metric = BLEU(references=[REFERENCES])
    there, back = measure(metric, *SYSTEMS), measure(metric, *reversed(SYSTEMS))
    assert there.points == -back.points
    assert (there.bootstrap_p, there.randomisation_p) == (back.bootstrap_p, back.randomisation_p)
    assert there.interval is not None
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))


def test_equal_systems_do_not_differ() -> None:
    measured = measure(BLEU(references=[REFERENCES]), SYSTEMS[0], list(SYSTEMS[0]))
    assert measured == Difference(0.0, (0.0, 0.0), 1.0, 1.0)


def test_one_changed_sentence_is_chance() -> None:
    """Swapped or not, the difference is as large: sacreBLEU, which counts larger ones only, says p = 0.0001."""
    changed = [*SYSTEMS[0][:-1], "ganz anders"]
    measured = measure(BLEU(references=[REFERENCES]), changed, SYSTEMS[0])
    assert measured.points < 0
    assert measured.randomisation_p == 1.0


def test_a_clear_difference_is_sure() -> None:
    measured = measure(BLEU(references=[REFERENCES]), REFERENCES, SYSTEMS[1])
    assert measured.points > 20
    assert measured.randomisation_p == pytest.approx(1 / 10_001)
    assert measured.interval is not None
    assert measured.interval[0] > 0


def test_untested_there_is_the_difference_alone() -> None:
    metric = BLEU(references=[REFERENCES])
    assert measure(metric, *SYSTEMS, tested=False) == Difference(measure(metric, *SYSTEMS).points, None, None, None)
