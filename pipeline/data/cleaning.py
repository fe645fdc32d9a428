"""Owns what a clean pair is: the rules that drop a pair. Knows no sources, no splits.

A rule is a small function that is true of a pair to be dropped; `clean` has their order, and the first that is true is
the one that counts. Duplicates and leaks are not found by looking at one pair: see splitting.py.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..plumbing.params import CleaningSettings
from .text import normal_form


class Pair(NamedTuple):
    """A sentence, its translation, and where it comes from (a number in the source's list)."""

    source: str
    target: str
    origin: int = 0


# {name} {} {{name}} ${name}   %(name)s %s %d %1$s %1   $1   [[name]]: what a program fills in
PLACEHOLDER = re.compile(
    r"\$?\{\{?[^{}]*\}?\}|%\([^()\s]+\)[-#0-9.]*[a-z]|%(?:\d+\$)?[-#0-9.*]*(?:ll|l|z|h)?[a-zA-Z](?![a-zA-Z])|%\d+|\$\d+"
)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # a run of letters, inner apostrophes included

# Languages that are not written in Latin letters: how the Unicode names of their letters begin.
SCRIPTS = {
    "ko": ("HANGUL",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "zh": ("CJK",),
    "ru": ("CYRILLIC",),
    "uk": ("CYRILLIC",),
    "bg": ("CYRILLIC",),
    "el": ("GREEK",),
    "ar": ("ARABIC",),
    "fa": ("ARABIC",),
    "he": ("HEBREW",),
    "hi": ("DEVANAGARI",),
    "th": ("THAI",),
}


def normalised(pair: Pair) -> Pair:
    """Return the pair with both sides in normal form."""
    return Pair(normal_form(pair.source), normal_form(pair.target), pair.origin)


def is_empty(pair: Pair) -> bool:
    return not pair.source or not pair.target


def has_control_characters(pair: Pair) -> bool:
    """Control and private characters, half surrogates, and what decoders leave for bytes they could not read."""
    return any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") or c == "\ufffd" for c in pair.source + pair.target)


def is_too_short(pair: Pair, words: int) -> bool:
    """Fewer than `words` words in the source, placeholders and numbers not counted."""
    return sum(bool(WORD.search(word)) for word in PLACEHOLDER.sub(" ", pair.source).split()) < words


def is_too_long(pair: Pair, words: int) -> bool:
    return max(len(pair.source.split()), len(pair.target.split())) > words


def has_odd_lengths(pair: Pair, ratio: float) -> bool:
    """One side has more than `ratio` times the bytes of the other: UTF-8 gives a syllable of Hangul the room of three
    letters, so that one ratio serves every script."""
    shorter, longer = sorted((len(pair.source.encode()), len(pair.target.encode())))
    return longer > ratio * shorter


def is_identical(pair: Pair) -> bool:
    return pair.source.casefold() == pair.target.casefold()


def is_only_placeholders(pair: Pair) -> bool:
    """A side without a word, once its placeholders are taken out."""
    return not all(WORD.search(PLACEHOLDER.sub(" ", side)) for side in (pair.source, pair.target))


def has_other_placeholders(pair: Pair) -> bool:
    """The two sides do not hold the same placeholders: one of them is out of date, or wrong."""
    return sorted(PLACEHOLDER.findall(pair.source)) != sorted(PLACEHOLDER.findall(pair.target))


def is_untranslated(pair: Pair, share: float) -> bool:
    """More than `share` of the target's words stand in the source too."""
    source, target = (WORD.findall(PLACEHOLDER.sub(" ", side).casefold()) for side in (pair.source, pair.target))
    return sum(word in set(source) for word in target) > share * len(target)


def is_in_other_script(text: str, language: str) -> bool:
    """Less than a third of the letters are of the script in which the language is written (Latin where not listed)."""
    names = [unicodedata.name(c, "") for c in PLACEHOLDER.sub(" ", text) if c.isalpha()]
    return 3 * sum(name.startswith(SCRIPTS.get(language, ("LATIN",))) for name in names) < len(names)


def clean(
    pairs: Iterable[Pair], languages: tuple[str, str], settings: CleaningSettings
) -> tuple[list[Pair], Counter[str]]:
    """The normalised pairs that pass every rule, and how many each rule dropped."""
    rules: dict[str, Callable[[Pair], bool]] = {
        "empty": is_empty,
        "control_characters": has_control_characters,
        "only_placeholders": is_only_placeholders,
        "too_short": lambda pair: is_too_short(pair, settings.min_source_words),
        "too_long": lambda pair: is_too_long(pair, settings.max_words),
        "length_ratio": lambda pair: has_odd_lengths(pair, settings.max_length_ratio),
        "identical": is_identical,
        "untranslated": lambda pair: is_untranslated(pair, settings.max_copied_words),
        "placeholders": has_other_placeholders,
        "script": lambda pair: (
            is_in_other_script(pair.source, languages[0]) or is_in_other_script(pair.target, languages[1])
        ),
    }
    kept: list[Pair] = []
    dropped: Counter[str] = Counter(dict.fromkeys(rules, 0))
    for pair in map(normalised, pairs):
        rule = next((name for name, is_bad in rules.items() if is_bad(pair)), None)
        if rule is None:
            kept.append(pair)
        else:
            dropped[rule] += 1
    return kept, dropped
