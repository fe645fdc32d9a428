"""Each cleaning rule drops what it is for, keeps what looks like it, and counts."""

import pytest

from pipeline.data.cleaning import Pair, clean, normalised
from pipeline.plumbing.params import CleaningSettings

SETTINGS = CleaningSettings(min_source_words=2, max_words=8, max_length_ratio=3.0, max_copied_words=0.5)
GOOD = ("The old dog sleeps.", "Der alte Hund schläft.")


def rule_for(source: str, target: str, languages: tuple[str, str] = ("en", "de")) -> str | None:
    """The rule that drops the pair, None where it is kept."""
    kept, dropped = clean([Pair(source, target)], languages, SETTINGS)
    rules = [name for name, count in dropped.items() if count]
    assert len(kept) + len(rules) == 1
    return rules[0] if rules else None


@pytest.mark.parametrize(
    ("rule", "source", "target"),
    [
        ("empty", GOOD[0], " \t "),
        ("control_characters", "The old\x07 dog sleeps.", GOOD[1]),
        ("control_characters", GOOD[0], "Der alte Hund schl\ufffdft."),
        ("only_placeholders", "{name}: 42 %", "{name}: 42 %"),
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
def test_a_rule_drops_what_it_is_for(rule: str, source: str, target: str) -> None:
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


def test_a_korean_sentence_counts_by_its_bytes_not_its_few_characters() -> None:
    source, target = "Please wait while installing", "설치 중입니다"
    assert len(source) > SETTINGS.max_length_ratio * len(target)
    assert rule_for(source, target, ("en", "ko")) is None


def test_text_is_composed_and_its_white_space_collapsed() -> None:
    assert normalised(Pair(" scho\u0308n\u00a0 \n weit ", "x\ty", 3)) == Pair("schön weit", "x y", 3)


def test_every_rule_is_counted_and_the_first_one_wins() -> None:
    bad = Pair("", "")  # empty, too short, identical
    kept, dropped = clean([Pair(*GOOD), bad, bad], ("en", "de"), SETTINGS)
    assert kept == [Pair(*GOOD)]
    assert dropped["empty"] == 2
    assert dropped.total() == 2
    assert dropped["script"] == 0
