"""Scores compared with sacreBLEU and with hand-computed BLEU; signatures, intervals, counts, buckets by length."""

import math

import pytest
import sacrebleu

from pipeline.scoring.facts import SystemName
from pipeline.scoring.metrics import Scorer

SOURCES = ["Two dogs run.", "A man reads a book.", "Nobody is here.", "The door stands open."]
REFERENCES = ["Zwei Hunde rennen.", "Ein Mann liest ein Buch.", "Niemand ist hier.", "Die Tür steht offen."]
HYPOTHESES = ["Zwei Hunde laufen.", "Ein Mann liest das Buch.", "", "The door stands open."]


def test_bleu_equals_the_value_computed_by_hand() -> None:
    # Counts are added over both sentences, then combined. Matching n-grams out of all, for n from 1 to 4:
    # "the cat sat on the mat": the cat sat on mat 5/6, three pairs 3/5, two triples 2/4, "the cat sat on" 1/3
    # "a dog": 2/2, 1/1
    precisions = [7 / 8, 4 / 6, 2 / 4, 1 / 3]
    brevity = math.exp(1 - 10 / 8)  # 8 tokens against 10
    scorer = Scorer(["", ""], ["the cat sat on a mat", "a dog ran home"], "en")
    score = scorer.score(["the cat sat on the mat", "a dog"])
    assert score.bleu == round(100 * brevity * math.prod(precisions) ** (1 / 4), 2)
    assert score.length_ratio == 0.8


def test_scores_equal_those_of_sacrebleu_called_directly() -> None:
    score = Scorer(SOURCES, REFERENCES, "de").score(HYPOTHESES)
    assert score.bleu == round(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score, 2)
    assert score.chrf == round(sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score, 2)


def test_scores_are_case_sensitive() -> None:
    scorer = Scorer(SOURCES, REFERENCES, "de")
    assert scorer.score([r.lower() for r in REFERENCES]).bleu < 50
    assert scorer.score(REFERENCES).bleu == 100


def test_signatures_name_case_tokeniser_and_version() -> None:
    signatures = Scorer(SOURCES, REFERENCES, "de").signatures
    version = sacrebleu.__version__
    assert signatures["bleu"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert signatures["chrf"] == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"


@pytest.mark.parametrize(("language", "tokeniser"), [("de", "13a"), ("zh_Hant", "zh"), ("ja", "char"), ("KO", "char")])
def test_the_signature_names_the_tokeniser_of_the_language(language: str, tokeniser: str) -> None:
    assert f"tok:{tokeniser}|" in Scorer(["x"], ["x"], language).signatures["bleu"]


def test_korean_is_scored_by_character() -> None:
    scorer = Scorer(["New folder"], ["새 폴더를 만듭니다"], "ko")
    # One particle differs: no common word of four, but common runs of four characters.
    assert scorer.score(["새 폴더가 만듭니다"]).bleu > 40


def test_intervals_contain_the_score_and_are_reproducible() -> None:
    scorer = Scorer(SOURCES * 20, REFERENCES * 20, "de")
    score = scorer.score(HYPOTHESES * 20)
    for value, (low, high) in ((score.bleu, score.bleu_interval), (score.chrf, score.chrf_interval)):
        assert low < value < high
    assert scorer.score(HYPOTHESES * 20) == score
    assert scorer.score(REFERENCES * 20).bleu_interval == (100, 100)


def test_an_interval_never_begins_below_zero() -> None:
    lucky = [REFERENCES[0]] + ["nichts davon"] * 39
    assert Scorer(SOURCES * 10, REFERENCES * 10, "de").score(lucky).bleu_interval[0] == 0


def test_an_interval_never_ends_above_100() -> None:
    one_wrong = [HYPOTHESES[0], *(REFERENCES * 10)[1:]]
    score = Scorer(SOURCES * 10, REFERENCES * 10, "de").score(one_wrong)
    assert (score.bleu_interval[1], score.chrf_interval[1]) == (100, 100)


def test_empty_and_copied_hypotheses_are_counted() -> None:
    score = Scorer(SOURCES, REFERENCES, "de").score(HYPOTHESES)
    assert (score.empty, score.copied) == (0.25, 0.25)


def test_a_system_with_empty_output_scores_zero() -> None:
    score = Scorer(SOURCES, REFERENCES, "de").score([""] * 4)
    assert (score.bleu, score.chrf, score.length_ratio, score.empty) == (0, 0, 0, 1)


def test_too_few_hypotheses_are_an_error() -> None:
    with pytest.raises(ValueError, match="argument"):
        Scorer(SOURCES, REFERENCES, "de").score(HYPOTHESES[:3])


def test_each_sentence_is_in_the_bucket_of_its_length_and_empty_buckets_are_left_out() -> None:
    lengths = [1, 4, 5, 9, 20, 29, 30, 80]
    sources = [" ".join(["word"] * n) for n in lengths]
    rows = Scorer(sources, sources, "en").bleu_by_length({"copy": sources})
    assert [(row.words, row.sentences) for row in rows] == [("1-4", 2), ("5-9", 2), ("20-29", 2), ("30+", 2)]


def test_sources_without_spaces_are_in_the_buckets_of_their_word_counts() -> None:
    sources = ["老狗", "老狗在这里睡着了很久", "用 Python 写"]
    rows = Scorer(sources, sources, "zh").bleu_by_length({"copy": sources})
    assert [(row.words, row.sentences) for row in rows] == [("1-4", 2), ("5-9", 1)]


def test_without_spaces_a_perfect_translation_scores_100_and_a_similar_one_over_50() -> None:
    for code, text in {"my": "ခွေးအိုကြီး အိပ်နေသည်။", "km": "ឆ្កែចាស់កំពុងគេង។", "th": "สุนัขแก่กำลังนอนหลับ"}.items():
        scorer = Scorer(["The old dog sleeps."], [text], code)
        assert scorer.score([text]).bleu == 100
        assert scorer.score([text[:-2]]).bleu > 50


def test_the_score_of_a_bucket_is_that_of_its_sentences() -> None:
    systems: dict[SystemName, list[str]] = {"beam": HYPOTHESES, "copy": SOURCES}
    rows = Scorer(SOURCES, REFERENCES, "de").bleu_by_length(systems)
    assert [row.words for row in rows] == ["1-4", "5-9"]
    for row, chosen in zip(rows, ([0, 2, 3], [1]), strict=True):
        references = [[REFERENCES[i] for i in chosen]]
        for name, lines in systems.items():
            assert row.bleu[name] == round(sacrebleu.corpus_bleu([lines[i] for i in chosen], references).score, 2)
