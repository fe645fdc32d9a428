"""The comparison holds what each part says of the texts that it is of."""

import json
from dataclasses import asdict

import pytest

from pipeline.reviews.bootstrap import FEWEST, Difference
from pipeline.reviews.comparison import SHOWN, compare
from pipeline.scoring.metrics import Scorer
from tests.reviews import LEVELS, better, compare_lines, sentences, worsen

REFERENCES = sentences(2 * FEWEST, 1)
OPPONENT = worsen(REFERENCES, 0.5, 2)


def test_scores_are_the_scorers_and_differences_are_theirs() -> None:
    candidate = worsen(REFERENCES, 0.2, 3)
    comparison = compare_lines(candidate, OPPONENT, REFERENCES)
    scorer = Scorer(REFERENCES, REFERENCES, "de")
    for system, texts in (("candidate", candidate), ("opponent", OPPONENT)):
        expected = scorer.score(texts)
        scores = asdict(comparison.scores[system])
        assert {key: pytest.approx(expected[key]) for key in scores} == scores
    assert comparison.signatures == scorer.signatures
    for metric in ("bleu", "chrf"):
        points = getattr(comparison.scores["candidate"], metric) - getattr(comparison.scores["opponent"], metric)
        assert comparison.differences[metric].points == pytest.approx(points, abs=0.011)


def test_the_target_language_chooses_the_tokeniser() -> None:
    korean = compare(
        "test", ["New folder"], ["새 폴더를 만듭니다"], ["새 폴더가 만듭니다"], "copy", ["New"], "ko", LEVELS, [1]
    )
    assert korean.scores["candidate"].bleu > 40
    assert korean.by_length[0].scores["candidate"]["bleu"] > 40
    assert korean.differences["bleu"].points > 40


def test_gains_and_losses_are_real_and_the_largest_come_first() -> None:
    candidate = list(OPPONENT)
    candidate[7] = REFERENCES[7]
    candidate[9] = " ".join(REFERENCES[9].split()[:-1])
    candidate[11] = ""
    comparison = compare_lines(candidate, OPPONENT, REFERENCES)
    assert {gain.line for gain in comparison.gains} | {loss.line for loss in comparison.losses} == {8, 10, 12}
    assert comparison.losses[0].line == 12
    gain = next(gain for gain in comparison.gains if gain.line == 8)
    assert (gain.source, gain.reference) == (f"source {REFERENCES[7]}", REFERENCES[7])
    assert (gain.candidate, gain.opponent) == (REFERENCES[7], OPPONENT[7])
    assert [change.points for change in comparison.gains] == sorted((g.points for g in comparison.gains), reverse=True)
    assert (comparison.better, comparison.worse) == (len(comparison.gains), len(comparison.losses))


def test_of_many_gains_the_largest_are_kept_and_all_are_counted() -> None:
    comparison = compare_lines(REFERENCES, OPPONENT, REFERENCES)
    assert len(comparison.gains) == SHOWN
    assert comparison.better > SHOWN
    assert not comparison.losses
    everything = compare_lines(OPPONENT, REFERENCES, REFERENCES)
    assert [loss.line for loss in everything.losses] == [gain.line for gain in comparison.gains]


def test_buckets_hold_their_sentences_alone_and_small_ones_have_no_limits() -> None:
    lengths = [3] * FEWEST + [12] * (FEWEST - 1)
    sources = [" ".join(["word"] * n) for n in lengths]
    references, opponent = REFERENCES[: len(lengths)], OPPONENT[: len(lengths)]
    candidate = references[:FEWEST] + opponent[FEWEST:]
    lines = range(1, len(lengths) + 1)
    comparison = compare("test", sources, references, candidate, "champion", opponent, "de", LEVELS, lines)
    assert [(b.words, b.sentences) for b in comparison.by_length] == [("1-4", FEWEST), ("10-19", FEWEST - 1)]
    short, long = comparison.by_length
    assert short.scores["candidate"] == {"bleu": pytest.approx(100), "chrf": pytest.approx(100)}
    assert short.differences["bleu"].limits
    assert short.differences["bleu"].limits[0] > 0
    assert long.differences["bleu"] == Difference(0.0, 0.95, None, None)
    alone = compare_lines(candidate[FEWEST:], opponent[FEWEST:], references[FEWEST:])
    assert long.scores["opponent"]["bleu"] == pytest.approx(alone.scores["opponent"].bleu, abs=0.006)


def test_a_comparison_is_plain_data_and_repeats() -> None:
    assert json.loads(json.dumps(asdict(better()), allow_nan=False))["test_set"] == "test"
    assert better() == better.__wrapped__()


def test_texts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"test: .*\[200, 200, 199, 200\] lines"):
        compare_lines(REFERENCES[:-1], OPPONENT, REFERENCES)
    with pytest.raises(ValueError, match="lines"):
        compare_lines([], [], [])
