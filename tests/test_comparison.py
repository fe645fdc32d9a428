"""The comparison holds what each part says of the texts that it is of."""

import json
import random
from dataclasses import asdict
from importlib import metadata

import pytest

from pipeline.reviews.bootstrap import FEWEST, Difference
from pipeline.reviews.comparison import SHOWN, compare
from tests.by_hand import bleu_by_hand, chrf_by_hand
from tests.reviews import LEVELS, better, compare_lines, sentences, worsen

REFERENCES = sentences(2 * FEWEST, 1)
OPPONENT = worsen(REFERENCES, 0.5, 2)


def test_scores_and_differences_are_those_counted_by_hand() -> None:
    systems = {"candidate": worsen(REFERENCES, 0.2, 3), "opponent": [*OPPONENT[:-1], f"{OPPONENT[-1]} und mehr"]}
    comparison = compare_lines(systems["candidate"], systems["opponent"], REFERENCES)
    by_hand = {"bleu": bleu_by_hand, "chrf": chrf_by_hand}
    expected = {
        name: {system: score(list(zip(texts, REFERENCES, strict=True))) for system, texts in systems.items()}
        for name, score in by_hand.items()
    }
    for name, scores in expected.items():
        for system, score in scores.items():
            assert getattr(comparison.scores[system], name) == pytest.approx(score, abs=0.0051)  # rounded to 2 places
        assert comparison.differences[name].points == pytest.approx(scores["candidate"] - scores["opponent"], abs=1e-9)
        assert scores["candidate"] > scores["opponent"] + 5  # so that neither can stand for the other
    for system, texts in systems.items():
        words, wanted = (sum(len(line.replace(".", " .").split()) for line in lines) for lines in (texts, REFERENCES))
        assert comparison.scores[system].length_ratio == pytest.approx(words / wanted, abs=0.00051)
    sacrebleu = f"version:{metadata.version('sacrebleu')}"
    assert comparison.signatures == {
        "bleu": f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|{sacrebleu}",
        "chrf": f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|{sacrebleu}",
    }


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_an_interval_holds_the_middle_95_of_100_scores_of_other_draws_of_the_sentences(metric: str) -> None:
    by_hand = {"bleu": bleu_by_hand, "chrf": chrf_by_hand}[metric]
    pairs = list(zip(OPPONENT, REFERENCES, strict=True))
    draw = random.Random(7)
    drawn = sorted(by_hand(draw.choices(pairs, k=len(pairs))) for _ in range(200))
    low, high = getattr(compare_lines(REFERENCES, OPPONENT, REFERENCES).scores["opponent"], f"{metric}_interval")
    middle = drawn[5:-5]
    width = middle[-1] - middle[0]
    assert low == pytest.approx(middle[0], abs=width / 5)
    assert high == pytest.approx(middle[-1], abs=width / 5)


def test_a_bucket_is_scored_on_its_sentences_alone() -> None:
    candidate = worsen(REFERENCES, 0.2, 3)
    for bucket in compare_lines(candidate, OPPONENT, REFERENCES).by_length:
        first, _, last = bucket.words.partition("-")
        chosen = [i for i, line in enumerate(REFERENCES) if int(first) <= len(line.split()) + 1 <= int(last)]
        assert bucket.sentences == len(chosen)
        for system, texts in (("candidate", candidate), ("opponent", OPPONENT)):
            pairs = [(texts[i], REFERENCES[i]) for i in chosen]
            assert bucket.scores[system]["chrf"] == pytest.approx(chrf_by_hand(pairs), abs=1e-9)
            if len(chosen) > 5:  # of fewer, some n-gram may never match, and sacreBLEU smooths
                assert bucket.scores[system]["bleu"] == pytest.approx(bleu_by_hand(pairs), abs=1e-9)


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
    with pytest.raises(ValueError, match=r"test: got \[200, 200, 199, 200\] sources"):
        compare_lines(REFERENCES[:-1], OPPONENT, REFERENCES)
    with pytest.raises(ValueError, match="expected equal numbers, not 0"):
        compare_lines([], [], [])
