"""Each fault is found by its rule, and not where source or reference excuse it."""

import pytest

from pipeline.reviews.output_faults import Faults, find_faults


def faults(output: str, source: str = "the source", reference: str = "die Referenz", language: str = "de") -> Faults:
    return find_faults([source], [reference], [output], language)


@pytest.mark.parametrize("output", ["", "  ", "\u3000"])
def test_white_space_is_empty(output: str) -> None:
    assert faults(output) == Faults(empty=1, copied=0, looping=0, undecodable=0)


def test_a_copy_of_the_source_is_one_unless_the_reference_is_one_too() -> None:
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
    ],
)
def test_one_to_four_words_four_times_in_a_row_loop(output: str, looping: bool) -> None:
    assert faults(output).looping == looping


@pytest.mark.parametrize(
    ("output", "looping"), [("的的的的", True), ("我们我们我们我们", True), ("我们我们我们", False)]
)
def test_in_a_language_without_spaces_characters_loop(output: str, looping: bool) -> None:
    assert faults(output, language="zh-CN").looping == looping
    assert faults(output, language="ko").looping == 0


def test_what_the_source_repeats_may_be_repeated() -> None:
    assert faults("nein nein nein nein", source="no no no no").looping == 0
    assert faults("1000000", source="1000000 yen", language="ja").looping == 0


def test_shares_are_of_the_test_set() -> None:
    found = find_faults(["s"] * 4, ["r"] * 4, ["", "s", "a a a a", "\ufffd"], "de")
    assert found == Faults(empty=0.25, copied=0.25, looping=0.25, undecodable=0.25)
