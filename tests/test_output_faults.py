"""Each fault is found by its rule, unless source or reference excuse it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reviews.output_faults import Faults, find_faults


def faults(output: str, source: str = "the source", reference: str = "die Referenz", language: str = "de") -> Faults:
    return find_faults([source], [reference], [output], language)


@pytest.mark.parametrize("output", ["", "  ", "\u3000"])
def test_white_space_is_empty(output: str) -> None:
    assert faults(output) == Faults(empty=1, copied=0, looping=0, undecodable=0)


def test_a_copy_of_the_source_is_a_fault_unless_the_reference_is_one_too() -> None:
    assert faults("the  source").copied == 1
    assert faults("The source").copied == 0
    assert faults("Firefox", source="Firefox", reference="Firefox").copied == 0
    assert faults("", source="").copied == 0


@pytest.mark.parametrize(
    ("output", "looping"),
    [
        ("so a a a a end", True),
        ("so a a a b a", False),
        ("a b a b a b a b", True),
        ("x a b a b a b a", False),
        ("a b c d a b c d a b c d a b c d", True),
        ("a b c d e a b c d e a b c d e a b c d e", False),
        ("hahahaha", False),
        ("yes, yes, yes, yes", True),
        ("yes – yes! yes… yes", True),
        ("see 10.0.0.0, ha-ha-ha-ha", False),
        ("- - - - …………", False),
    ],
)
def test_one_to_four_words_four_times_in_a_row_are_a_loop(output: str, looping: bool) -> None:
    assert faults(output).looping == looping


@pytest.mark.parametrize(
    ("output", "looping"),
    [
        *(("的的的的", True), ("我们我们我们我们", True), ("我们我们我们", False), ("我们，我们，我们，我们", True)),
        *(("the the the the", True), ("OK，OK，OK，OK", True), ("2，2，2，2", True)),
        *(("1000000人", False), ("他说————不", False), ("等等......", False), ("https://wwwwwwww", False)),
    ],
)
def test_in_a_language_without_spaces_repeated_characters_are_a_loop(output: str, looping: bool) -> None:
    assert faults(output, language="zh-CN").looping == looping


def test_in_a_language_with_spaces_repeated_characters_are_no_loop() -> None:
    assert faults("的的的的 我们我们我们我们", language="ko").looping == 0


@pytest.mark.parametrize(
    ("output", "language", "looping"),
    [
        *(("ฉันฉันฉันฉัน", "th", True), ("5555555 ตลก", "th", False)),
        *(("ああああ！", "ja", True), ("10000円です。", "ja", False)),
        *(("…………", "zh-Hant", False), ("ཀཀཀཀ", "bo", True), ("བོད་བོད་བོད་བོད་", "bo", True)),
    ],
)
def test_numbers_and_punctuation_are_no_letters(output: str, language: str, looping: bool) -> None:
    assert faults(output, language=language).looping == looping


def test_a_repetition_in_the_source_may_be_translated() -> None:
    assert faults("nein nein nein nein", source="no no no no").looping == 0
    assert faults("ああああ！", source="aah!", reference="ああああ!", language="ja").looping == 0
    assert faults("谢谢谢谢谢谢谢谢", source="thanks", reference="谢谢谢谢谢谢谢谢", language="zh").looping == 0
    assert faults("nein nein nein nein", source="no no no", reference="nein, nein").looping == 1


LANGUAGES = st.sampled_from(["de", "zh", "zh-Hant", "ja", "th", "bo", "ko", "my"])
LOOPS = st.builds(lambda unit, times: unit * times, st.text("ab 的ああ谢ฉัན་ก1.…!", max_size=4), st.integers(1, 6))


@given(st.lists(LOOPS | st.text(max_size=9), max_size=4).map("".join), LANGUAGES)
@settings(max_examples=200, deadline=None)
def test_a_translation_that_equals_its_reference_is_no_loop(text: str, language: str) -> None:
    assert faults(text, reference=text, language=language).looping == 0


@given(st.from_regex(r"[0-9]*[.,…—!?。、 *-]*", fullmatch=True), LANGUAGES)
@settings(max_examples=200, deadline=None)
def test_a_number_with_punctuation_is_no_loop(text: str, language: str) -> None:
    assert faults(text, language=language).looping == 0


def test_shares_are_those_of_the_whole_test_set() -> None:
    found = find_faults(["s"] * 4, ["r"] * 4, ["", "s", "a a a a", "\ufffd"], "de")
    assert found == Faults(empty=0.25, copied=0.25, looping=0.25, undecodable=0.25)
