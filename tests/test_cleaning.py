"""Each cleaning rule drops bad pairs, keeps good pairs that look similar, and counts what it drops."""

import sys
import unicodedata
from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import texts as texts_module
from pipeline.data.cleaning import CONTROL, Cleaned, Pair, advice, clean, normalised
from pipeline.data.keys import keys
from pipeline.data.languages import WORD
from pipeline.data.placeholders import PLACEHOLDER
from pipeline.plumbing.params import DownloadSettings, Rule
from tests.cleaning_by_pair import rule_for as by_pair

LIMITS = {"min_source_words": 2, "max_words": 8, "max_length_ratio": 3.0, "max_copied_words": 0.5}
GOOD = ("The old dog sleeps.", "Der alte Hund schläft.")


def cleaned(*pairs: Pair, languages: tuple[str, str] = ("en", "de"), kind: str = "wheels", **limits: Any) -> Cleaned:
    codes = dict(zip(("source_language", "target_language"), languages, strict=True))
    return clean(pairs, DownloadSettings.model_validate({"source": kind, "cleaning": LIMITS | limits, **codes}))


def rule_for(source: str, target: str, languages: tuple[str, str] = ("en", "de"), **more: Any) -> str | None:
    """Return the rule that drops the pair, or None if it is kept."""
    found = cleaned(Pair(source, target), languages=languages, **more)
    rules = [name for name, count in found.dropped.items() if count]
    assert len(found.pairs) + len(rules) == 1
    return rules[0] if rules else None


@pytest.mark.parametrize(
    ("rule", "source", "target"),
    [
        ("empty", GOOD[0], " \t "),
        ("control_characters", "The old\x07 dog sleeps.", GOOD[1]),
        ("control_characters", GOOD[0], "Der alte Hund schl\ufffdft."),
        ("no_words", "{name}: 42 %", "{name}: 42 %"),
        ("too_short", "Dog {name} 7", "Hund {name} 7"),
        ("too_long", "one two three four five six seven eight nine", GOOD[1]),
        ("length_ratio", "The dog", "Der wohl allerliebste Hund von allen"),
        ("identical", "the old dog", "The Old Dog"),
        ("untranslated", GOOD[0], "The old dog schläft."),
        ("placeholders", "Hello to {name}", "Gruß an {other}"),
        ("placeholders", "%d dogs sleep", "Viele Hunde schlafen"),
        ("script", GOOD[0], "Старая собака спит."),
    ],
)
def test_each_rule_drops_its_bad_pairs(rule: str, source: str, target: str) -> None:
    assert rule_for(source, target) == rule


@pytest.mark.parametrize(
    ("source", "target"),
    [
        GOOD,
        ("%(count)s of {total} dogs", "%(count)s von {total} Hunden"),
        ("Dogs are 100% loyal", "Hunde sind 100% treu"),
        ("Open Jupyter Notebook", "Jupyter Notebook wieder öffnen"),
        ("No. 7, the dog", "Nr. 7, der Hund"),
    ],
)
def test_a_good_pair_is_kept(source: str, target: str) -> None:
    assert rule_for(source, target) is None


def test_the_target_must_be_in_the_script_of_its_language() -> None:
    assert rule_for("The old dog sleeps.", "늙은 개가 잡니다.", ("en", "ko")) is None
    assert rule_for("The old dog sleeps.", "Der alte Hund schläft.", ("en", "ko")) == "script"


def test_a_korean_syllable_counts_as_several_letters_in_the_length_ratio() -> None:
    source, target = "Please wait while installing", "설치 중입니다"
    assert len(source) > LIMITS["max_length_ratio"] * len(target)
    assert rule_for(source, target, ("en", "ko")) is None


def test_text_is_composed_and_white_space_is_collapsed() -> None:
    assert normalised(Pair(" scho\u0308n\u00a0 \n weit ", "x\ty", 3)) == Pair("schön weit", "x y", 3)


def test_a_pair_is_counted_under_the_first_rule_that_drops_it() -> None:
    bad = Pair("", "")  # empty, too short, identical
    found = cleaned(Pair(*GOOD), bad, bad)
    assert found.pairs == [Pair(*GOOD)]
    assert found.dropped["empty"] == 2
    assert found.dropped.total() == 2
    assert list(found.dropped) == list(get_args(Rule))


@pytest.mark.parametrize("rule", get_args(Rule))
def test_every_rule_can_be_skipped(rule: str) -> None:
    """If the only rule left is skipped too, its bad pair is kept."""
    everything = [name for name in get_args(Rule) if name != rule]
    bad = {
        "empty": ("", "x"),
        "control_characters": ("a\x07", "b"),
        "no_words": ("7", "b"),
        "too_short": ("dog", "Hund"),
        "too_long": ("a " * 9, "b"),
        "length_ratio": ("a", "bbbb"),
        "identical": ("A", "a"),
        "untranslated": ("a b", "a"),
        "placeholders": ("{a}", "{b}"),
        "script": ("a", "б"),
    }[rule]
    assert rule_for(*bad, skip=everything) == rule
    assert rule_for(*bad, skip=[*everything, rule]) is None


@pytest.mark.parametrize(
    ("source", "target", "languages"),
    [
        ("The old dog sleeps.", "Стари пас спава.", ("en", "sr-Cyrl")),
        ("The old dog sleeps.", "Stari pas spava.", ("en", "sr")),
        ("The old dog sleeps.", "பழைய நாய் தூங்குகிறது.", ("en", "ta")),
        ("The old dog sleeps.", "ბებერ ძაღლს სძინავს.", ("en", "ka")),
        ("The old dog sleeps.", "老狗在睡觉。", ("en", "zh-CN")),
        ("老狗在睡觉。", "The old dog sleeps.", ("zh_Hans", "en")),
        ("年老いた犬が眠っている。", "The old dog sleeps.", ("ja", "en")),
        ("สุนัขแก่กำลังนอนหลับ", "The old dog sleeps.", ("th", "en")),
        ("ခွေးအိုကြီး အိပ်နေသည်။", "The old dog sleeps.", ("my", "en")),
        ("ឆ្កែចាស់កំពុងគេង។", "The old dog sleeps.", ("km", "en")),
        ("ཁྱི་རྒན་དེ་གཉིད་ཉལ་བ་རེད།", "The old dog sleeps.", ("bo", "en")),
        ("سگ پیر می\u200cخوابد.", "The old dog sleeps.", ("fa", "en")),
        ("The coat costs $20 and 5 €.", "Der Mantel kostet 20 Dollar und 5 €.", ("en", "de")),
        ("I am 100 % sure of %20 here.", "Ich bin mir da 100%ig sicher.", ("en", "de")),
        ("It is 20 % of the dogs.", "Ez a kutyák 20%-a éppen.", ("en", "hu")),
        ("Remove %s and %d now", "%s과 %d을 지금 삭제합니다", ("en", "ko")),
        ("Update a ZebraClock share", "ZebraClock 공유 갱신", ("en", "ko")),
        ("The dog smiles \U0001fa77", "Der Hund lächelt \U0001fa77", ("en", "de")),
    ],
)
@pytest.mark.parametrize("kind", ["files", "wheels"])
def test_good_pairs_of_many_languages_are_kept(source: str, target: str, languages: tuple[str, str], kind: str) -> None:
    assert rule_for(source, target, languages, kind=kind, min_source_words=3) is None


def test_placeholders_are_compared_only_in_interface_text_or_if_the_setting_says_so() -> None:
    pair = "The set {a, b} is small", "Die Menge {b, a} ist klein"
    assert rule_for(*pair) == "placeholders"
    for kind in ("files", "hub"):
        assert rule_for(*pair, kind=kind) is None
        assert rule_for(*pair, kind=kind, skip=[]) == "placeholders"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name} {} {{ name }} ${name} {0:>10} {n, number}", 6),
        ("%(name)s %s %1$s %-5d %05.2f %Y %lld", 7),
        ("%1 of %2", 2),
        ("$20, 100%, 20 % d, 50%ig, %20, %50a", 0),
        ("https://example.org/a%20b?c=%2Fd and ftp://x/%20d", 0),
        ("{two words in braces}", 0),
    ],
)
def test_placeholders_are_what_a_program_replaces(text: str, expected: int) -> None:
    assert len(PLACEHOLDER.findall(text)) == expected


def test_a_percent_sign_before_its_number_is_no_placeholder() -> None:
    assert rule_for("It rises by 5% a year", "Yılda %5 artıyor", ("en", "tr")) is None
    assert rule_for("%1 rises by %2", "%1 artıyor", ("en", "tr")) == "placeholders"


def test_two_chinese_letters_count_as_one_word() -> None:
    assert rule_for("老狗", "The old dog", ("zh", "en"), min_source_words=2) == "too_short"
    assert rule_for("老狗" * 10, "The old dog sleeps", ("zh", "en"), max_length_ratio=9.0) == "too_long"


def test_new_and_unassigned_characters_are_not_control_characters() -> None:
    """Characters newer than this Python must be kept: Python 3.11 has Unicode 14, Python 3.14 has Unicode 16."""
    for character in map(chr, range(sys.maxunicode + 1)):
        category, code = unicodedata.category(character), ord(character)
        never = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
        bad = category in ("Cc", "Cs", "Co") or never or character == "\ufffd"
        assert bool(CONTROL.search(character)) == bad, f"U+{code:04X}"


def test_a_side_without_visible_characters_is_empty() -> None:
    for blank in ("", " ", "\u200b", "\ufeff", "\u2060\u00ad"):
        assert rule_for(GOOD[0], blank) == "empty"


def test_the_advice_names_the_rules_that_dropped_most_with_examples() -> None:
    found = cleaned(*[Pair("老狗在睡觉", "老狗在睡觉")] * 3, Pair("", ""), Pair(*GOOD), Pair("", "x"))
    settings = DownloadSettings.model_validate({"source": "wheels", "source_language": "en", "target_language": "de"})
    assert advice(found.dropped, found.examples, 6, settings) == (
        "identical dropped 3 of 6 pairs, such as '老狗在睡觉' -> '老狗在睡觉'; empty dropped 2 of 6 pairs, such as "
        "'' -> ''; if these are good pairs, set download.cleaning.skip: [identical, empty]"
    )
    assert advice(cleaned(Pair(*GOOD)).dropped, {}, 1, settings) == ""


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_the_rules_accept_any_text(source: str, target: str) -> None:
    for languages in (("zh", "my"), ("qaa", "sr")):
        found = cleaned(Pair(source, target), languages=languages)
        assert len(found.pairs) + found.dropped.total() == 1
        assert all(WORD.search(pair.target) for pair in found.pairs)


TEXT = st.text(
    st.sampled_from("aZß %{}1'’,éЖж\u0301한ㄱ語กา\u0e31\u200d\u200b\u00ad中かﬁJİ\t\u0345ǅ") | st.characters(),
    max_size=24,
)


@settings(deadline=None)  # tables are made at the first use
@given(st.lists(st.tuples(TEXT, TEXT), max_size=8), st.sampled_from([("en", "de"), ("zh", "ko"), ("sr", "th")]))
def test_a_batch_is_decided_as_pair_by_pair(texts: list[tuple[str, str]], languages: tuple[str, str]) -> None:
    settings = DownloadSettings.model_validate(
        {"source": "wheels", "cleaning": LIMITS, "source_language": languages[0], "target_language": languages[1]}
    )
    pairs = [Pair(source, target, number) for number, (source, target) in enumerate(texts)]
    expected = [by_pair(pair, settings.cleaning, languages) for pair in pairs]
    with pytest.MonkeyPatch.context() as small:
        small.setattr(texts_module, "BATCH", 3)
        found = clean(pairs, settings)
    assert [pair.origin for pair in found.pairs] == [n for n, rule in enumerate(expected) if rule is None]
    assert found.keys == [(*keys([pair.source]), *keys([pair.target])) for pair in found.pairs]
    assert +found.dropped == Counter(rule for rule in expected if rule)
    for rule, pair in found.examples.items():
        assert expected.index(rule) == pair.origin
