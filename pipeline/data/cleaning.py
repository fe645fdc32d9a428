"""Say what a clean pair is: the rules that drop a pair. Knows no sources, no splits.

A rule is a small function that is true of a pair to be dropped; `clean` has their order, and the first that is true is
the one that counts. Duplicates and leaks are not found by looking at one pair: see splitting.py.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import regex

from ..plumbing.errors import UserError
from ..plumbing.params import CleaningSettings, DownloadSettings, Rule
from .languages import WORD, count_words, is_in_other_script, size, words
from .text import normal_form


class Pair(NamedTuple):
    """A sentence, its translation, and where it comes from (a number in the source's list)."""

    source: str
    target: str
    origin: int = 0


# What a program fills in: {name} {} {{ name }} ${name} {n, number}, %(name)s %s %1$s %-5d %Y, and %1. In "$20", "100%",
# "20 % d", "a%20b" and "{two words}" there is none.
PLACEHOLDER = regex.compile(
    r"\$?\{\{?\s*(?:[^{}\s,]+(?:,\s*[^{}\s,]+)*)?\s*\}?\}|%\([^()\s]+\)[-#0-9.]*[a-z]"
    r"|(?<!\d)%(?:\d+\$)?(?:(?:ll|l|z|h)?[a-zA-Z]|(?<!://\S*)[-#0-9.*]+(?:ll|l|z|h)?[diouxXeEfFgGcsp@])(?!\p{Latin})"
    r"|(?<!://\S*)%[1-9](?![.,]?\d)"
)
NUMBERED = regex.compile(r"%[1-9]")
# Control and private characters, half surrogates, what is never a character, and what decoders leave for bytes that
# they could not read. Unicode never changes which these are; what is not assigned yet is none of them, so that text
# newer than the tables of Python or `regex` stays.
CONTROL = regex.compile(r"[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\ufffd]")
VISIBLE = regex.compile(r"[^\s\p{Cf}]")


def normalised(pair: Pair) -> Pair:
    """Return the pair with both sides in normal form."""
    return Pair(normal_form(pair.source), normal_form(pair.target), pair.origin)


def is_empty(pair: Pair) -> bool:
    """A side has nothing that one sees."""
    return not (VISIBLE.search(pair.source) and VISIBLE.search(pair.target))


def with_text(pairs: Iterable[Pair], name: str) -> list[Pair]:
    """Return the normalised pairs of a held-out split that have text on both sides.

    A blank line of a test set would count as an empty output of every model. Raises UserError if none is left.
    """
    kept = [pair for pair in map(normalised, pairs) if not is_empty(pair)]
    if not kept:
        raise UserError(f"{name}: no pair has text on both sides")
    return kept


def has_control_characters(pair: Pair) -> bool:
    """A side has a character that no text has."""
    return bool(CONTROL.search(pair.source) or CONTROL.search(pair.target))


def has_no_words(pair: Pair) -> bool:
    """A side has no word, once its placeholders are taken out."""
    return not all(WORD.search(_without_placeholders(side)) for side in (pair.source, pair.target))


def is_too_short(pair: Pair, least: int) -> bool:
    """The source has fewer than `least` words, placeholders and numbers not counted."""
    runs = _without_placeholders(pair.source).split()
    return count_words(" ".join(run for run in runs if WORD.search(run))) < least


def is_too_long(pair: Pair, most: int) -> bool:
    """A side has more than `most` words."""
    return max(count_words(pair.source), count_words(pair.target)) > most


def has_odd_lengths(pair: Pair, ratio: float) -> bool:
    """One side is more than `ratio` times as long as the other."""
    shorter, longer = sorted((size(pair.source), size(pair.target)))
    return longer > ratio * shorter


def is_identical(pair: Pair) -> bool:
    """Source and target are the same text but for case."""
    return pair.source.casefold() == pair.target.casefold()


def is_untranslated(pair: Pair, share: float) -> bool:
    """More than `share` of the target's words stand in the source too."""
    source, target = (words(_without_placeholders(side)) for side in (pair.source, pair.target))
    known = set(source)
    return sum(word in known for word in target) > share * len(target)


def has_other_placeholders(pair: Pair) -> bool:
    """The two sides do not hold the same placeholders: one of them is out of date, or wrong."""
    return _placeholders(pair.source) != _placeholders(pair.target)


def _placeholders(text: str) -> list[str]:
    """The placeholders of a text, sorted. Without a %1, a %5 is a share of a hundred, as Turkish writes it."""
    found = sorted(PLACEHOLDER.findall(text))
    return found if "%1" in found else [each for each in found if not NUMBERED.fullmatch(each)]


def has_other_script(pair: Pair, languages: tuple[str, str]) -> bool:
    """A side is not written as its language is."""
    sides = zip((pair.source, pair.target), languages, strict=True)
    return any(is_in_other_script(_without_placeholders(side), language) for side, language in sides)


def _without_placeholders(text: str) -> str:
    return str(PLACEHOLDER.sub(" ", text))


@dataclass(frozen=True)
class Cleaned:
    """The normalised pairs that pass every rule, how many each rule dropped, and the first that each dropped."""

    pairs: list[Pair]
    dropped: Counter[str]
    examples: dict[str, Pair]
    skipped: list[Rule]  # the rules that dropped nothing because they were not asked

    def tell(self) -> str:
        """Say which rules dropped the most, with an example, and how they are skipped; empty if none did."""
        total = len(self.pairs) + self.dropped.total()
        most = [(rule, count) for rule, count in self.dropped.most_common(2) if count]
        told = [
            f"{rule} dropped {count} of {total} pairs, such as {_short(self.examples[rule].source)} -> "
            f"{_short(self.examples[rule].target)}"
            for rule, count in most
        ]
        names = ", ".join([*self.skipped, *(rule for rule, _ in most)])
        return f"{'; '.join(told)}; good pairs stay with download.cleaning.skip: [{names}]" if most else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def clean(pairs: Iterable[Pair], settings: DownloadSettings) -> Cleaned:
    """Normalise the pairs and drop those of which a rule is true, unless it is to be skipped."""
    limits, languages = settings.cleaning, (settings.source_language, settings.target_language)
    all_rules: dict[Rule, Callable[[Pair], bool]] = {
        "empty": is_empty,
        "control_characters": has_control_characters,
        "no_words": has_no_words,
        "too_short": lambda pair: is_too_short(pair, limits.min_source_words),
        "too_long": lambda pair: is_too_long(pair, limits.max_words),
        "length_ratio": lambda pair: has_odd_lengths(pair, limits.max_length_ratio),
        "identical": is_identical,
        "untranslated": lambda pair: is_untranslated(pair, limits.max_copied_words),
        "placeholders": has_other_placeholders,
        "script": lambda pair: has_other_script(pair, languages),
    }
    skipped = _skipped(limits, settings.source)
    rules = {name: is_bad for name, is_bad in all_rules.items() if name not in skipped}
    kept: list[Pair] = []
    dropped: Counter[str] = Counter(dict.fromkeys(rules, 0))
    examples: dict[str, Pair] = {}
    for pair in map(normalised, pairs):
        rule = next((name for name, is_bad in rules.items() if is_bad(pair)), None)
        if rule is None:
            kept.append(pair)
        else:
            dropped[rule] += 1
            examples.setdefault(rule, pair)
    return Cleaned(kept, dropped, examples, skipped)


def _skipped(settings: CleaningSettings, source: str) -> list[Rule]:
    """Where the settings name none, the rule for interface text is skipped, unless the source is such text."""
    if settings.skip is not None:
        return settings.skip
    return [] if source == "wheels" else ["placeholders"]
