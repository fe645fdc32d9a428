"""Languages by their BCP 47 codes: scripts, spaces, words, and sacreBLEU's tokeniser."""

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.languages import (
    LETTERS_A_WORD,
    OTHER_SCRIPTS,
    WORD,
    count_words,
    has_spaces,
    letters_a_word,
    scripts,
    size,
    standard_code,
    tokeniser_for,
    words_only,
)
from pipeline.data.text import normal_form
from pipeline.data.texts import Texts, in_other_script
from pipeline.reviews.output_faults import find_faults


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("de", {"Latn"}),
        ("pt-BR", {"Latn"}),
        ("en_XX", {"Latn", "Shaw"}),
        ("sr", {"Cyrl", "Latn"}),
        ("sr-ME", {"Cyrl", "Latn"}),
        ("sr-Cyrl", {"Cyrl"}),
        ("srp_Latn", {"Latn"}),
        ("sh", {"Cyrl", "Latn"}),
        ("bs", {"Cyrl", "Latn"}),
        ("uz", {"Arab", "Cyrl", "Latn"}),
        ("kk", {"Arab", "Cyrl", "Latn"}),
        ("az", {"Arab", "Cyrl", "Latn"}),
        ("pa", {"Arab", "Guru"}),
        ("kmr", {"Arab", "Cyrl", "Latn", "Yezi"}),
        ("ta", {"Taml"}),
        ("ka", {"Geor"}),
        ("zh-CN", {"Hani", "Bopo"}),
        ("zh_Hant", {"Hani"}),
        ("zho_Hans", {"Hani"}),
        ("ja", {"Hira", "Kana", "Hani"}),
        ("ja-Latn", {"Latn"}),
        ("ko", {"Hang", "Hani"}),
        ("ur-Aran", {"Arab"}),
        ("und-Cyrl", {"Cyrl"}),
        ("rki", {"Mymr"}),
        ("qaa", set()),
        ("und", set()),
        ("mul", set()),
        ("en-Zzzz", set()),
        ("no code", set()),
    ],
)
def test_the_scripts_of_a_language(code: str, expected: set[str]) -> None:
    assert scripts(code) == expected


def test_all_spellings_of_a_code_are_the_same_language() -> None:
    assert {standard_code(code) for code in ("pt-BR", "pt_br", "por-BR")} == {"pt-BR"}
    assert standard_code("zh-Hant") != standard_code("zh-Hans")


def test_every_script_in_the_tables_exists_in_unicode() -> None:
    for script in [*LETTERS_A_WORD, *(script for others in OTHER_SCRIPTS.values() for script in others)]:
        assert regex.compile(rf"\p{{Script={script}}}")


@pytest.mark.parametrize(
    ("code", "tokeniser", "spaces"),
    [
        ("de", "13a", True),
        ("fr-CA", "13a", True),
        ("vi", "13a", True),
        ("hi", "13a", True),
        ("am", "13a", True),
        ("qaa", "13a", True),
        ("zh", "zh", False),
        ("zh-CN", "zh", False),
        ("zh_Hant", "zh", False),
        ("cmn-Hans-CN", "zh", False),
        ("yue", "zh", False),
        ("lzh", "zh", False),
        ("zh-Latn", "13a", True),
        ("ja", "char", False),
        ("JA-JP", "char", False),
        ("KO", "char", True),
        ("th", "char", False),
        ("my", "char", False),
        ("km_KH", "char", False),
        ("lo", "char", False),
        ("bo", "char", False),
        ("dz", "char", False),
        ("jv", "13a", True),
        ("jv-Java", "char", False),
        ("ban-Bali", "char", False),
        ("cjy", "zh", False),
        ("czh-CN", "zh", False),
        ("cdo", "char", False),  # Han or Latin
        ("cdo-Latn", "13a", True),
        ("xug", "char", False),
        ("rki", "char", False),
        ("ksw-MM", "char", False),
        ("blk", "char", False),
        ("khg", "char", False),
        ("zyb", "13a", True),  # as za
    ],
)
def test_a_language_has_its_tokeniser_and_its_spaces(code: str, tokeniser: str, spaces: bool) -> None:
    assert (tokeniser_for(code), has_spaces(code)) == (tokeniser, spaces)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The old dog sleeps.", 4),
        ("20 % of 3", 4),
        ("请打开文件", 3),
        ("用 PostgreSQL 连接", 3),
        ("使用PostgreSQL連線", 3),
        ("ファイルを開いて保存する", 6),
        ("สุนัขตัวนั้นกำลังนอนหลับอยู่", 5),
        ("ຂ້ອຍຮັກເຈົ້າ", 2),
        ("늙은 개가 잡니다.", 3),
        ("བཀྲ་ཤིས་བདེ་ལེགས།", 4),
        ("ሰላም፡ዓለም", 2),
        ("हिन्दी में लिखा", 3),
        ("обʼєкт створено", 2),  # U+02BC is used with Thai letters, too
        ("donʼt", 1),
        ("", 0),
    ],
)
def test_words_are_counted_in_every_script(text: str, words: int) -> None:
    assert count_words(text) == words


@given(st.text(alphabet=st.characters(max_codepoint=0x24F)))
def test_in_latin_text_words_are_separated_by_spaces(text: str) -> None:
    assert count_words(text) == len(regex.findall(r"\S+", text))


@given(st.lists(st.sampled_from("的開くสุนัขအပါདog3 !。"), max_size=12).map("".join))
def test_a_longer_text_has_no_fewer_words(text: str) -> None:
    assert count_words(text) <= count_words(text + "的") <= count_words(text) + 1


@pytest.mark.parametrize(
    "words",
    [("दाल", "दिल"), ("เสื้อ", "เสือ"), ("می\u200cخواهم", "می خواهم"), ("क्\u200dष", "क्ष"), ("שָׁלוֹם", "שלום")],
)
def test_words_that_differ_in_a_mark_or_joiner_are_different(words: tuple[str, str]) -> None:
    assert len({words_only(word) for word in words}) == 2
    for word in words:
        assert "".join(WORD.findall(word)) == word.replace(" ", "")


@given(st.lists(st.from_regex(regex.compile(r"[א-תक-ह][ְ-ֻा-ौ]{0,2}").pattern, fullmatch=True), min_size=1).map("".join))
def test_a_word_includes_all_its_marks(text: str) -> None:
    assert WORD.findall(text) == [text]


def test_in_scripts_without_spaces_a_space_makes_no_difference() -> None:
    assert words_only("你好，世界！") == words_only("你好 世界") == "你好世界"
    assert words_only("ខ្ញុំ ស្រឡាញ់") == words_only("ខ្ញុំស្រឡាញ់")
    assert words_only("늙은 개") != words_only("늙은개")


@pytest.mark.parametrize(
    "spellings",
    [
        ["I don't know", "I don’t know", "I don`t know", "i DON＇T know!"],
        ["п'ять", "п’ять", "пʼять", "П‘ЯТЬ"],
        ["o'zbek", "oʻzbek", "o‘zbek", "O’ZBEK"],
        ["l'été", "L’e\u0301te\u0301"],
        ["zusammen", "zu\u00adsammen", "zu\u2060sam\ufeffmen", "\u200ezusammen\u200f"],
        ["كتاب", "كتـــاب", "ﻛﺘﺎﺐ"],
        ["バス ABC", "ﾊﾞｽ ＡＢＣ", "バス abc\ufe0f"],
        ["你好世界", "你好‘世’界", "你好 “世界”"],
        ["ΐχνος", "Ϊ́ΧΝΟΣ"],
        ["fin Straße", "ﬁn STRASSE"],
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_the_same_sentence_have_the_same_words(spellings: list[str]) -> None:
    assert len({words_only(normal_form(spelling)) for spelling in spellings}) == 1


@pytest.mark.parametrize(("one", "other"), [("we're", "were"), ("koʻu", "kou"), ("m²", "n²"), ("l'une", "lune")])
def test_words_with_and_without_an_apostrophe_are_different(one: str, other: str) -> None:
    assert words_only(one) != words_only(other)


@given(st.text(max_size=40))
def test_normalising_words_twice_changes_nothing(text: str) -> None:
    assert words_only(words_only(text)) == words_only(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Старый пёс спит.", "sr-Cyrl"),
        ("Стари пас спава.", "sr"),
        ("Stari pas spava.", "sr"),
        ("நாய் தூங்குகிறது.", "ta"),
        ("ძაღლს სძინავს.", "ka-GE"),
        ("老狗在睡觉。", "zh-CN"),
        ("SQLAlchemy を使う", "ja"),
        ("使用 PostgreSQL 連線", "zh-Hant"),
        ("コーヒー", "ja"),
        ("𝐀 + µ = ∞ ☕ 42", "de"),
        ("anything όπως", "qaa"),
        ("старый", "qaa"),
        ("kotava", "mul"),
        *[
            ("μῆνιν ἄειδε θεά", "grc"),
            ("kuv mus tsev", "mww"),
            ("Pha̍k-fa-sṳ", "hak"),
            ("老狗", "hak"),
            ("ᨅᨔ ᨕᨘᨁᨗ", "bug"),
        ],
        *[
            ("うちなーぐち", "ryu"),
            ("tânisi", "crk"),
            ("ܐܪܡܝܐ", "arc"),
            ("ruáingga", "rhg"),
            ("ლაზური", "lzz"),
            ("лимба", "ro"),
        ],
        ("", "de"),
    ],
)
def test_text_in_the_script_of_its_language_is_accepted(text: str, code: str) -> None:
    assert not in_other_script(Texts([text]), code)[0]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Stari pas spava.", "sr-Cyrl"),
        ("The old dog", "zh-TW"),
        ("The old dog", "crk-Cans"),
        ("The old dog", "nqo"),
        ("老狗", "de"),
        ("The old dog", "ta"),
        ("Пес", "ja"),
    ],
)
def test_text_in_another_script_is_recognised(text: str, code: str) -> None:
    assert in_other_script(Texts([text]), code)[0]


def test_a_letter_that_is_a_syllable_counts_as_three() -> None:
    assert size("설치 중") == 3 * 3 + 1
    assert size("खिल") == 3  # the vowel sign counts as a letter
    assert size("über 9") == 6


@pytest.mark.parametrize(
    ("output", "code", "looping"),
    [
        ("ประเทศไทย" * 4, "th", True),
        ("ประเทศไทย" * 3, "th", False),
        ("ཁྱེད་" * 4, "bo", True),
        ("东京大学" * 4, "yue", True),
        ("na" * 4, "jv", False),
    ],
)
def test_repeated_words_are_found_in_scripts_without_spaces(output: str, code: str, looping: bool) -> None:
    assert find_faults(["source"], ["reference"], [output], code).looping == looping
    assert (letters_a_word(code) is None) == has_spaces(code)
