"""Clean the training pairs: each rule is a function that returns which pairs of a batch to drop.

`clean` has the rules in order, and counts a pair under the first rule that drops it. Duplicates and leaks cannot be
found by looking at one pair: see splitting.py.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from ..plumbing.errors import UserError
from ..plumbing.params import DownloadSettings, Rule
from .characters import LETTERS, kind_of
from .keys import keys_in
from .languages import WORD, count_words
from .placeholders import may_have_placeholders, placeholders, without_placeholders
from .text import normal_form
from .texts import Texts, in_batches, in_normal_form, in_other_script


class Pair(NamedTuple):
    """A sentence, its translation, and its origin (an index of `RawCorpus.origins`)."""

    source: str
    target: str
    origin: int = 0


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


Mask = NDArray[np.bool_]


class Batch:
    """N pairs, brought into normal form, about which is decided together. A rule returns which pairs to drop, (N,)."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        sources, targets, origins = zip(*pairs, strict=True)
        self.sides = (in_normal_form(sources), in_normal_form(targets))
        self.pairs = list(map(Pair, self.sides[0].texts, self.sides[1].texts, origins))

    @cached_property
    def with_placeholders(self) -> list[int]:
        """The rows that may have placeholders."""
        return [row for row, (source, target, _) in enumerate(self.pairs) if may_have_placeholders(source + target)]

    @cached_property
    def plain(self) -> tuple[Texts, Texts]:
        """Both sides, with a space in the place of each placeholder."""
        if not self.with_placeholders:
            return self.sides
        source, target = (Texts(list(map(without_placeholders, side.texts))) for side in self.sides)
        return source, target


def are_empty(batch: Batch) -> Mask:
    """A side has no visible character."""
    source, target = (side.has(kind_of(VISIBLE)) for side in batch.sides)
    return ~(source & target)


def have_control_characters(batch: Batch) -> Mask:
    """A side has a control character or another code point that does not occur in text."""
    source, target = (side.has(kind_of(CONTROL)) for side in batch.sides)
    return source | target


def have_no_words(batch: Batch) -> Mask:
    """A side has no word besides its placeholders."""
    source, target = (side.has(LETTERS) for side in batch.plain)
    return ~(source & target)


def are_too_short(batch: Batch, least: int) -> Mask:
    """The source has fewer than `least` words, without placeholders and numbers."""
    source = batch.plain[0]
    counts = source.runs_with(LETTERS)
    for row in np.flatnonzero(source.has_uncommon_words).tolist():
        counts[row] = count_words(" ".join(run for run in source.texts[row].split() if WORD.search(run)))
    return counts < least


def are_too_long(batch: Batch, most: int) -> Mask:
    """A side has more than `most` words."""
    source, target = (side.word_counts for side in batch.sides)
    return np.maximum(source, target) > most


def have_odd_lengths(batch: Batch, ratio: float) -> Mask:
    """One side is more than `ratio` times as long as the other."""
    source, target = (side.sizes for side in batch.sides)
    return np.maximum(source, target) > ratio * np.minimum(source, target)


def are_identical(batch: Batch) -> Mask:
    """Source and target are equal except for case."""
    return _array(pair.source.casefold() == pair.target.casefold() for pair in batch.pairs)


def are_untranslated(batch: Batch, share: float) -> Mask:
    """More than `share` of the target's words are also in the source."""
    source, target = batch.plain
    shared, total = target.words_in(source)
    return shared > share * total


def have_other_placeholders(batch: Batch) -> Mask:
    """The placeholders of the two sides differ, which means that one side is outdated or wrong."""
    found = np.zeros(len(batch.pairs), dtype=bool)
    for row in batch.with_placeholders:
        source, target, _ = batch.pairs[row]
        found[row] = placeholders(source) != placeholders(target)
    return found


def have_other_script(batch: Batch, languages: tuple[str, str]) -> Mask:
    """A side is not written in a script of its language."""
    source, target = (in_other_script(side, code) for side, code in zip(batch.plain, languages, strict=True))
    return source | target


def _array(values: Iterable[bool]) -> Mask:
    return np.fromiter(values, dtype=bool)


@dataclass
class Cleaned:
    """The result of `clean`: the normalised pairs that are left, and what each rule dropped."""

    pairs: list[Pair]
    keys: list[tuple[str, str]]  # of both sides of each pair (keys.py)
    has_text: list[bool]  # whether both sides of each pair have a visible character
    dropped: Counter[str]
    examples: dict[str, Pair]  # the first pair that each rule dropped


def advice(dropped: Counter[str], examples: Mapping[str, Pair], read: int, settings: DownloadSettings) -> str:
    """Return a message about the rules that dropped the most of `read` pairs: how many, examples, how to skip them.

    The message is empty if no rule dropped a pair.
    """
    most = [(rule, count) for rule, count in dropped.most_common(2) if count]
    counts = [
        f"{rule} dropped {count} of {read} pairs, such as {_short(examples[rule].source)} -> "
        f"{_short(examples[rule].target)}"
        for rule, count in most
    ]
    names = ", ".join([*skipped_rules(settings), *(rule for rule, _ in most)])
    return f"{'; '.join(counts)}; if these are good pairs, set download.cleaning.skip: [{names}]" if most else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def clean(pairs: Iterable[Pair], settings: DownloadSettings) -> Cleaned:
    """Normalise the pairs, and drop those that a rule chooses. Skipped rules are not applied."""
    limits, languages = settings.cleaning, (settings.source_language, settings.target_language)
    all_rules: dict[Rule, Callable[[Batch], Mask]] = {
        "empty": are_empty,
        "control_characters": have_control_characters,
        "no_words": have_no_words,
        "too_short": lambda batch: are_too_short(batch, limits.min_source_words),
        "too_long": lambda batch: are_too_long(batch, limits.max_words),
        "length_ratio": lambda batch: have_odd_lengths(batch, limits.max_length_ratio),
        "identical": are_identical,
        "untranslated": lambda batch: are_untranslated(batch, limits.max_copied_words),
        "placeholders": have_other_placeholders,
        "script": lambda batch: have_other_script(batch, languages),
    }
    skipped = skipped_rules(settings)
    rules = {name: rule for name, rule in all_rules.items() if name not in skipped}
    kept: list[Pair] = []
    keys: list[tuple[str, str]] = []
    has_text: list[bool] = []
    dropped: Counter[str] = Counter(dict.fromkeys(rules, 0))
    examples: dict[str, Pair] = {}
    for some in in_batches(pairs, lambda pair: len(pair.source) + len(pair.target)):
        batch, left = Batch(some), np.ones(len(some), dtype=bool)
        for name, rule in rules.items():
            found = left & rule(batch)
            left &= ~found
            dropped[name] += int(found.sum())
            if found.any():
                examples.setdefault(name, batch.pairs[int(found.argmax())])
        kept += compress(batch.pairs, left)
        keys += compress(zip(*map(keys_in, batch.plain, batch.sides), strict=True), left)
        has_text += (~are_empty(batch))[left].tolist()
    return Cleaned(kept, keys, has_text, dropped, examples)


def skipped_rules(settings: DownloadSettings) -> list[Rule]:
    """Return the rules that are not applied.

    By default, the rule for placeholders is applied only to the wheels, which contain the text of user interfaces.
    """
    if settings.cleaning.skip is not None:
        return settings.cleaning.skip
    return [] if settings.source == "wheels" else ["placeholders"]
