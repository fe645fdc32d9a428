"""Count characters and find words in many texts at once, with one look-up for each character (characters.py).

Where the meaning of a character depends on its neighbours, the text is read by `languages.words` instead.
"""

import functools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import languages
from .characters import (
    APOSTROPHE,
    APOSTROPHES,
    COMPOSING,
    DEPENDENT,
    EXTENDING,
    FOLDED,
    LETTER_S,
    LETTERS,
    LINE_FEED,
    MULTIPLIER,
    OTHER_SEPARATORS,
    OTHER_SPACES,
    SEEN,
    SHARP_S,
    SPACE,
    SPACES,
    Kind,
    Numbers,
    codes_of,
    kind_of,
    kinds_of,
    mixed,
    sizes_of,
)
from .text import normal_form

BATCH, BATCH_CHARACTERS = 10_000, 2_000_000  # of texts whose characters are looked up together: some 100 MB

T = TypeVar("T")


class Texts:
    """A batch of N texts with C characters in all."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.lengths = np.fromiter(map(len, texts), np.int64, len(texts))  # (N,)
        self._ends = np.cumsum(self.lengths + 1) - 1  # of each text; a line feed stands there
        self._starts = self._ends - self.lengths
        self._codes = codes_of("".join(f"{text}\n" for text in texts))  # (C + N,)
        self._look_up()

    def _look_up(self) -> None:
        self._kinds, self._known = kinds_of(self._codes)  # (C + N,)
        self._kinds[self._ends] = SEEN
        self._occurring = self._reduced(np.bitwise_or, self._kinds, np.uint32)  # (N,)

    def _kinds_with(self, kind: Kind) -> NDArray[np.uint32]:
        """Return the kinds of all characters, (C + N,), and let `_occurring` have them, too: also a kind made later."""
        if kind.number > self._known:
            self._look_up()
        return self._kinds

    def sum(self, numbers: Numbers) -> NDArray[np.int64]:
        """Return the sum of the numbers of the characters of each text, (N,)."""
        return self._reduced(np.add, numbers[self._codes], np.int64)

    def count(self, kind: Kind) -> NDArray[np.int64]:
        """Return how many characters of a kind each text has, (N,)."""
        return self._reduced(np.add, kind(self._kinds_with(kind)), np.int64)

    def has(self, kind: Kind) -> NDArray[np.bool_]:
        """Return whether each text has a character of a kind, (N,)."""
        self._kinds_with(kind)
        return kind(self._occurring)

    def _reduced(self, how: np.ufunc, values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
        """Return the reduction of the values of each text's characters and of the line feed behind it, (N,)."""
        if not len(self.texts):
            return np.zeros(0, dtype=dtype)
        found: NDArray[Any] = how.reduceat(values, self._starts, dtype=dtype)
        return found

    def runs_with(self, kind: Kind) -> NDArray[np.int64]:
        """Return the number of runs between spaces that have a character of a kind, (N,)."""
        begins = self._codes == SPACE
        begins[self._starts] = True
        positions = np.flatnonzero(kind(self._kinds_with(kind)))
        runs = np.cumsum(begins)[positions]
        firsts = positions[np.flatnonzero(np.diff(runs, prepend=0))]
        return np.bincount(np.searchsorted(self._ends, firsts, side="right"), minlength=len(self.texts))

    @property
    def may_change_in_normal_form(self) -> NDArray[np.bool_]:
        """Whether each text has a character that `normal_form` may change, or a space that it removes, (N,)."""
        found = self.has(COMPOSING) | self.has(OTHER_SPACES)
        is_end = np.zeros(len(self._codes), dtype=bool)
        is_end[self._ends] = True
        is_space = SPACES(self._kinds_with(SPACES))
        spaces = np.flatnonzero(is_space)
        removed = spaces[is_space[spaces + 1] | is_end[spaces + 1] | is_end[spaces - 1]]
        found[np.searchsorted(self._ends, removed, side="right")] = True
        return found

    @functools.cached_property
    def sizes(self) -> NDArray[np.int64]:
        """The length of each text as `languages.size` measures it, (N,)."""
        return self.lengths + 2 * self.count(kind_of(languages.SYLLABIC_LETTER))

    @functools.cached_property
    def word_counts(self) -> NDArray[np.int64]:
        """The number of words of each text, which is in normal form, as `languages.count_words` counts them, (N,)."""
        found: NDArray[np.int64] = self.count(SPACES) + (self.lengths > 0)
        for row in np.flatnonzero(self.has_uncommon_words).tolist():
            found[row] = languages.count_words(self.texts[row])
        return found

    @functools.cached_property
    def has_uncommon_words(self) -> NDArray[np.bool_]:
        """Whether words of each text are separated by something else than spaces, or not at all, (N,)."""
        return self.has(kind_of(languages.UNSPACED_LETTER)) | self.has(OTHER_SEPARATORS)

    @functools.cached_property
    def in_words(self) -> list[str]:
        """The words of each text with a space between them, as `languages.words` finds them."""
        found = self._folded.tobytes().decode("utf-32-le", "surrogatepass").split("\n")[:-1]
        for row in np.flatnonzero(self._is_odd).tolist():
            found[row] = " ".join(languages.words(self.texts[row]))
        return found

    def words_in(self, other: "Texts") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many words of each text are also in the same row of `other`, (N,), and how many it has, (N,)."""
        rows, words = self._hashes
        known = np.sort(other._hashes[1])
        places = np.minimum(np.searchsorted(known, words), max(0, len(known) - 1))
        is_known = known[places] == words if len(known) else np.zeros(len(words), dtype=bool)
        shared, total = (np.bincount(each, minlength=len(self.texts)) for each in (rows[is_known], rows))
        for row in np.flatnonzero(self._is_odd | other._is_odd).tolist():
            own, others = (languages.words(texts.texts[row]) for texts in (self, other))
            shared[row], total[row] = sum(map(set(others).__contains__, own)), len(own)
        return shared, total

    @functools.cached_property
    def _hashes(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The row of each word, and a hash of both, of words that can be looked up."""
        codes = self._folded
        is_end = (codes == SPACE) | (codes == LINE_FEED)
        begins = np.flatnonzero(~is_end & _shifted(is_end))
        rows = np.cumsum(codes == LINE_FEED)[begins]
        if not len(begins):
            return rows, np.zeros(0, dtype=np.uint64)
        firsts = np.zeros(len(codes), dtype=np.int64)
        firsts[begins] = begins
        places = np.arange(len(codes)) - np.maximum.accumulate(firsts)  # of each character in its word
        powers = np.cumprod(np.full(int(places.max()) + 1, MULTIPLIER))
        values = np.where(is_end, np.uint64(0), (codes + np.uint64(1)) * powers[places])
        return rows, mixed(np.add.reduceat(values, begins)) + rows.astype(np.uint64)

    @functools.cached_property
    def _folded(self) -> NDArray[np.uint32]:
        """The characters of the words of all texts, in one case: a space between words, a line feed after each text."""
        folded = FOLDED[self._codes]
        if self.has(APOSTROPHES).any():
            folded[self._apostrophes[self._is_inside]] = APOSTROPHE
        folded[self._ends] = LINE_FEED
        if len(sharp := np.flatnonzero(folded == SHARP_S)):
            folded = np.insert(folded, sharp, LETTER_S)
            folded[folded == SHARP_S] = LETTER_S
        is_space, is_end = folded == SPACE, folded == LINE_FEED
        folded = folded[~(is_space & _shifted(is_space | is_end))]  # no space behind a space or in front of a text
        is_space, is_end = folded == SPACE, folded == LINE_FEED
        found: NDArray[np.uint32] = folded[~(is_space & _shifted(is_end[::-1])[::-1])]  # none behind a text
        return found

    @functools.cached_property
    def _apostrophes(self) -> NDArray[np.int64]:
        """The places of the apostrophes."""
        return np.flatnonzero(APOSTROPHES(self._kinds_with(APOSTROPHES)))

    @property
    def _is_inside(self) -> NDArray[np.bool_]:
        """Whether each apostrophe stands between two letters."""
        return LETTERS(self._kinds[self._apostrophes - 1]) & LETTERS(self._kinds[self._apostrophes + 1])

    @functools.cached_property
    def _is_odd(self) -> NDArray[np.bool_]:
        """Whether each text has a character whose meaning in a word is not in the tables, (N,).

        A mark belongs to a word if it follows a letter or another mark. If it follows a letter that folding changes,
        the two may become one character. An apostrophe belongs to a word if it stands between letters, but not in
        scripts without spaces.
        """
        found = self.has(DEPENDENT)
        kinds, codes = self._kinds, self._codes
        if self.has(APOSTROPHES).any():
            found |= self.has(APOSTROPHES) & self.has(kind_of(languages.UNSPACED_LETTER))
            kinds = self._kinds
            after_mark = self._apostrophes[EXTENDING(kinds[self._apostrophes - 1])]
            found[np.searchsorted(self._ends, after_mark, side="right")] = True
        if self.has(EXTENDING).any():
            marks = np.flatnonzero(EXTENDING(kinds))
            before = codes[marks - 1]
            follows = (LETTERS(kinds[marks - 1]) | EXTENDING(kinds[marks - 1])) & ~np.isin(marks, self._starts)
            changes = (FOLDED[before] != before) | (before == SHARP_S)
            odd = marks[~follows | changes]
            found[np.searchsorted(self._ends, odd, side="right")] = True
        if not unicodedata.is_normalized("NFC", "\n".join(self.texts)):
            found |= [not unicodedata.is_normalized("NFC", text) for text in self.texts]
        return found


def _shifted(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the value before each one; True for the first."""
    return np.concatenate([[True], values])[:-1]


def in_batches(
    items: Iterable[T], size: Callable[[T], int], most: int | None = None, most_characters: int = BATCH_CHARACTERS
) -> Iterator[list[T]]:
    """Yield lists of at most `most` items (BATCH), which also end when they have `most_characters`, told by `size`."""
    most = most or BATCH
    batch: list[T] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += size(item)
        if len(batch) == most or characters >= most_characters:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def in_normal_form(texts: Sequence[str]) -> Texts:
    """Return the texts in normal form (text.py)."""
    found = Texts(texts)
    rows = np.flatnonzero(found.may_change_in_normal_form).tolist()
    if not rows:
        return found
    changed = list(texts)
    for row in rows:
        changed[row] = normal_form(texts[row])
    return Texts(changed)


def in_other_script(texts: Texts, code: str) -> NDArray[np.bool_]:
    """Return whether less than a third of each text is in the scripts of a language, (N,).

    A third is enough because names and terms keep their script: "SQLAlchemy を使う" is Japanese. Parts are measured by
    `languages.size`. If the scripts of the language are not known, no text is in another one.
    """
    pattern = languages.letters_in(code)
    if pattern is None:
        return np.zeros(len(texts.texts), dtype=bool)
    return 3 * texts.sum(sizes_of(pattern)) < texts.sum(sizes_of(languages.OF_SOME_SCRIPT))
