"""Clean the training pairs: each rule is a function that returns True for a pair to drop.

`clean` has the rules in order, and counts a pair under the first rule that drops it. Duplicates and leaks cannot be
found by looking at one pair: see splitting.py.
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
    """A sentence, its translation, and its origin (an index of `RawCorpus.origins`)."""

    source: str
    target: str
    origin: int = 0


# What a program replaces by a value: {name} {} {{ name }} ${name} {n, number}, %(name)s %s %1$s %-5d %Y, and %1. There
# is none in "$20", "100%", "20 % d", "a%20b" and "{two words}".
PLACEHOLDER = regex.compile(
    r"\$?\{\{?\s*(?:[^{}\s,]+(?:,\s*[^{}\s,]+)*)?\s*\}?\}|%\([^()\s]+\)[-#0-9.]*[a-z]"
    r"|(?<!\d)%(?:\d+\$)?(?:(?:ll|l|z|h)?[a-zA-Z]|(?<!://\S*)[-#0-9.*]+(?:ll|l|z|h)?[diouxXeEfFgGcsp@])(?!\p{Latin})"
    r"|(?<!://\S*)%[1-9](?![.,]?\d)"
)
NUMBERED = regex.compile(r"%[1-9]")
# Control characters, private characters, lone surrogates, noncharacters, and U+FFFD, which decoders write in place of
# unreadable bytes. New versions of Unicode do not add to these. Code points without a character yet are not among
# them, so that characters newer than the tables of Python or `regex` are kept.
CONTROL = regex.compile(r"[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\ufffd]")
VISIBLE = regex.compile(r"[^\s\p{Cf}]")


def normalised(pair: Pair) -> Pair:
    """Return the pair with both sides in normal form."""
    return Pair(normal_form(pair.source), normal_form(pair.target), pair.origin)


def is_empty(pair: Pair) -> bool:
    """Return whether a side has no visible character."""
    return not (VISIBLE.search(pair.source) and VISIBLE.search(pair.target))


def with_text(pairs: Iterable[Pair], name: str) -> list[Pair]:
    """Return the normalised pairs of a held-out split that have text on both sides.

    A blank line would count as an empty output of every model. Raise UserError if no pair is left.
    """
    kept = [pair for pair in map(normalised, pairs) if not is_empty(pair)]
    if not kept:
        raise UserError(f"{name}: no pair has text on both sides")
    return kept


def has_control_characters(pair: Pair) -> bool:
    """Return whether a side has a control character or another code point that does not occur in text."""
    return bool(CONTROL.search(pair.source) or CONTROL.search(pair.target))


def has_no_words(pair: Pair) -> bool:
    """Return whether a side has no word besides its placeholders."""
    return not all(WORD.search(_without_placeholders(side)) for side in (pair.source, pair.target))


def is_too_short(pair: Pair, least: int) -> bool:
    """Return whether the source has fewer than `least` words, without placeholders and numbers."""
    runs = _without_placeholders(pair.source).split()
    return count_words(" ".join(run for run in runs if WORD.search(run))) < least


def is_too_long(pair: Pair, most: int) -> bool:
    """Return whether a side has more than `most` words."""
    return max(count_words(pair.source), count_words(pair.target)) > most


def has_odd_lengths(pair: Pair, ratio: float) -> bool:
    """Return whether one side is more than `ratio` times as long as the other."""
    shorter, longer = sorted((size(pair.source), size(pair.target)))
    return longer > ratio * shorter


def is_identical(pair: Pair) -> bool:
    """Return whether source and target are equal except for case."""
    return pair.source.casefold() == pair.target.casefold()


def is_untranslated(pair: Pair, share: float) -> bool:
    """Return whether more than `share` of the target's words are also in the source."""
    source, target = (words(_without_placeholders(side)) for side in (pair.source, pair.target))
    known = set(source)
    return sum(word in known for word in target) > share * len(target)


def has_other_placeholders(pair: Pair) -> bool:
    """Return whether the placeholders of the two sides differ, which means that one side is outdated or wrong."""
    return _placeholders(pair.source) != _placeholders(pair.target)


def _placeholders(text: str) -> list[str]:
    """Return the placeholders of a text, sorted. %5 counts only if the text has %1, too; in Turkish it means 5 %."""
    found = sorted(PLACEHOLDER.findall(text))
    return found if "%1" in found else [each for each in found if not NUMBERED.fullmatch(each)]


def has_other_script(pair: Pair, languages: tuple[str, str]) -> bool:
    """Return whether a side is not written in a script of its language."""
    sides = zip((pair.source, pair.target), languages, strict=True)
    return any(is_in_other_script(_without_placeholders(side), language) for side, language in sides)


def _without_placeholders(text: str) -> str:
    return str(PLACEHOLDER.sub(" ", text))


@dataclass(frozen=True)
class Cleaned:
    """The result of `clean`: the normalised pairs that are left, and what each rule dropped."""

    pairs: list[Pair]
    dropped: Counter[str]
    examples: dict[str, Pair]  # the first pair that each rule dropped
    skipped: list[Rule]  # rules that were not applied

    def advice(self) -> str:
        """Return a message about the rules that dropped the most pairs: how many, examples, how to skip these rules.

        The message is empty if no rule dropped a pair.
        """
        total = len(self.pairs) + self.dropped.total()
        most = [(rule, count) for rule, count in self.dropped.most_common(2) if count]
        counts = [
            f"{rule} dropped {count} of {total} pairs, such as {_short(self.examples[rule].source)} -> "
            f"{_short(self.examples[rule].target)}"
            for rule, count in most
        ]
        names = ", ".join([*self.skipped, *(rule for rule, _ in most)])
        return f"{'; '.join(counts)}; if these are good pairs, set download.cleaning.skip: [{names}]" if most else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def clean(pairs: Iterable[Pair], settings: DownloadSettings) -> Cleaned:
    """Normalise the pairs, and drop those for which a rule returns True. Skipped rules are not applied."""
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
    """Return the rules to skip.

    By default, the rule for placeholders is applied only to the wheels, which contain the text of user interfaces.
    """
    if settings.skip is not None:
        return settings.skip
    return [] if source == "wheels" else ["placeholders"]
