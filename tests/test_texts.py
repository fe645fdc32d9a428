"""What is looked up for many texts at once is what the expressions of languages.py find in each text."""

import unicodedata

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data.characters import LETTERS, Kind, kind_of
from pipeline.data.cleaning import CONTROL, VISIBLE
from pipeline.data.languages import INVISIBLE, OF_SOME_SCRIPT, SYLLABIC_LETTER, count_words, letters_in, size, words
from pipeline.data.text import normal_form
from pipeline.data.texts import Texts, in_normal_form

# Characters that mean something else beside certain others: apostrophes, marks, joiners, capitals that become one
# character with a mark, letters that become several, compatibility forms, scripts without spaces.
ODD = "aZsß'’`ʼʻ´\u0301\u030c\u0345\u200c\u200d\u00ad\u200bJjİıǅŉﬁＡﾊﾞ한ㄱㅏ\u1100\u1161語かーกา\u0e31मि་།"
ODD += "_-.1 \ue000\ud800"
ANY = st.lists(st.text(st.sampled_from(ODD) | st.characters(), max_size=20), max_size=6)
LETTER = regex.compile(r"\p{L}")
TEXTS = ANY.map(lambda texts: list(map(normal_form, texts)))


@settings(deadline=None)  # tables are made at the first use
@given(ANY)
@example(["J\u030c", "j", "", "ß\u030c", "don't"])
@example(["e\u0301", "a\nb"])
@example([])
@example([""])
def test_words_are_those_of_each_text(texts: list[str]) -> None:
    assert Texts(texts).in_words == [" ".join(words(text)) for text in texts]


@settings(deadline=None)
@given(TEXTS)
@example(["", "a", "", ""])
def test_counts_are_those_of_each_text(texts: list[str]) -> None:
    found = Texts(texts)
    assert found.word_counts.tolist() == [count_words(text) for text in texts]
    assert found.sizes.tolist() == [size(text) for text in texts]
    assert found.count(LETTERS).tolist() == [len(LETTER.findall(text)) for text in texts]
    assert found.has(kind_of(VISIBLE)).tolist() == [bool(VISIBLE.search(text)) for text in texts]
    runs = [sum(bool(LETTER.search(run)) for run in text.split(" ")) for text in texts]
    assert found.runs_with(LETTERS).tolist() == runs


@pytest.mark.parametrize("pattern", [CONTROL, VISIBLE, INVISIBLE, OF_SOME_SCRIPT, SYLLABIC_LETTER, letters_in("ja")])
def test_a_table_has_the_characters_that_its_expression_matches(pattern: regex.Pattern[str]) -> None:
    characters = [chr(code) for code in [*range(0x3000), *range(0x3000, 0x110000, 97)]]
    found = Texts(characters).has(kind_of(pattern)).tolist()
    assert found == [bool(pattern.fullmatch(character)) for character in characters]


def test_a_table_made_later_knows_the_characters_that_occurred_before() -> None:
    before = Texts(["ж", "z"])
    assert before.has(Kind(lambda character: character == "ж")).tolist() == [True, False]


@settings(deadline=None)
@given(ANY, ANY)
@example(["a a'b ß"], ["A'B ss x"])
@example(["don't", "a\u0301'b"], ["DON’T you", ""])
def test_words_of_two_texts_are_compared(ones: list[str], others: list[str]) -> None:
    others = (others * 6 + [""] * 6)[: len(ones)]
    known = [set(words(text)) for text in others]
    shared, total = Texts(ones).words_in(Texts(others))
    assert total.tolist() == [len(words(text)) for text in ones]
    assert shared.tolist() == [sum(word in own for word in words(text)) for own, text in zip(known, ones, strict=True)]


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from(ODD + " \t\u00a0\u2028") | st.characters(), max_size=20), max_size=6))
@example([" a", "b ", "a  b", " ", "", "c"])
@example(["a b", "c"])
def test_the_normal_form_of_many_texts_is_that_of_each(texts: list[str]) -> None:
    assert list(in_normal_form(texts).texts) == list(map(normal_form, texts))


def test_no_character_changes_in_normal_form_unnoticed() -> None:
    """Neither alone nor behind one with which it composes."""
    parts = {chr(code): unicodedata.decomposition(chr(code)).split() for code in range(0x110000)}
    seconds = {chr(int(found[1], 16)) for found in parts.values() if len(found) == 2 and "<" not in found[0]}
    changed = {character for character in parts if normal_form(f"a{character}a") != f"a{character}a"}
    found = Texts(sorted(seconds | changed)).may_change_in_normal_form
    assert found.all()


def test_every_letter_is_folded_as_in_a_word_of_its_own() -> None:
    texts = [unicodedata.normalize("NFC", letter) for letter in map(chr, range(0x110000)) if LETTER.match(letter)]
    assert Texts(texts).in_words == [" ".join(words(text)) for text in texts]
