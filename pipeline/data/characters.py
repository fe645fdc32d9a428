"""Count characters and find words in many texts at once, with one look-up for each character.

`languages.py` says by regular expressions what a letter, a word or a script is. Here a character is asked for once,
when it first occurs, and NumPy looks up all characters of a batch of texts in tables of the answers. Where the meaning
of a character depends on its neighbours, the text is read by `languages.words` instead.
"""

import functools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import regex
from numpy.typing import NDArray

from . import languages

CODES = 0x110000  # of Unicode
BATCH, BATCH_CHARACTERS = 10_000, 2_000_000  # of texts whose characters are looked up together: some 100 MB
SPACE, LINE_FEED = 0x20, 0x0A
SHARP_S = "ß"

T = TypeVar("T")

_seen = np.zeros(CODES, dtype=bool)  # the code points that all tables know
_tables: list["Table"] = []
_learning = Lock()  # a table that is made while another thread adds characters must get them, too


class Table:
    """The answers of a function of one character, by code point: those of all characters that occurred in Texts."""

    def __init__(self, answer: Callable[[str], int], dtype: type[np.generic] = np.bool_) -> None:
        self.answer = answer
        self._answers = np.zeros(CODES, dtype=dtype)
        with _learning:
            self.learn(np.flatnonzero(_seen))
            _tables.append(self)

    def learn(self, codes: NDArray[np.integer]) -> None:
        """Ask for the answers of some code points."""
        self._answers[codes] = [self.answer(chr(code)) for code in codes.tolist()]

    def __getitem__(self, codes: NDArray[np.uint32]) -> NDArray[Any]:
        """Return the answers for code points that occurred in Texts."""
        return self._answers[codes]


class Texts:
    """A batch of N texts with C characters in all."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.lengths = np.fromiter(map(len, texts), np.int64, len(texts))  # (N,)
        self._codes = codes_of("".join(texts))  # (C,)
        with _learning:
            new = np.unique(self._codes[~_seen[self._codes]])
            for table in _tables:
                table.learn(new)
            _seen[new] = True
        self._ends = np.cumsum(self.lengths)
        self._starts = self._ends - self.lengths

    def sum(self, answers: Table) -> NDArray[np.int64]:
        """Return the sum of the answers for the characters of each text, (N,): of yes and no, how many are yes."""
        return self._sums(answers[self._codes])

    def has(self, kind: Table) -> NDArray[np.bool_]:
        """Return whether each text has a character of a kind, (N,)."""
        return self.sum(kind) > 0

    def runs_with(self, kind: Table) -> NDArray[np.int64]:
        """Return the number of runs between spaces that have a character of a kind, (N,)."""
        begins = self._codes == SPACE
        begins[self._starts[self.lengths > 0]] = True
        positions = np.flatnonzero(kind[self._codes])
        runs = np.cumsum(begins)[positions]
        firsts = positions[np.flatnonzero(np.diff(runs, prepend=0))]
        return np.bincount(np.searchsorted(self._ends, firsts, side="right"), minlength=len(self.texts))

    @functools.cached_property
    def sizes(self) -> NDArray[np.int64]:
        """The length of each text as `languages.size` measures it, (N,)."""
        return self.lengths + 2 * self.sum(table_of(languages.SYLLABIC_LETTER))

    @functools.cached_property
    def word_counts(self) -> NDArray[np.int64]:
        """The number of words of each text, which is in normal form, as `languages.count_words` counts them, (N,)."""
        found: NDArray[np.int64] = self.sum(SPACES) + (self.lengths > 0)
        for row in np.flatnonzero(self.has_uncommon_words).tolist():
            found[row] = languages.count_words(self.texts[row])
        return found

    @functools.cached_property
    def has_uncommon_words(self) -> NDArray[np.bool_]:
        """Whether words of each text are separated by something else than spaces, or not at all, (N,)."""
        return self.has(table_of(languages.UNSPACED_LETTER)) | self.has(OTHER_SEPARATORS)

    @functools.cached_property
    def words(self) -> list[list[str]]:
        """The words of each text, as `languages.words` finds them."""
        folded = np.insert(FOLDED[self._codes], self._ends[:-1], LINE_FEED)
        lines = folded.tobytes().decode("utf-32-le", "surrogatepass").replace(SHARP_S, "ss").split("\n")
        found = [line.split() for line in lines] if self.texts else []
        odd = self._cannot_be_looked_up()
        if not unicodedata.is_normalized("NFC", "\n".join(self.texts)):
            odd |= [not unicodedata.is_normalized("NFC", text) for text in self.texts]
        for row in np.flatnonzero(odd).tolist():
            found[row] = languages.words(self.texts[row])
        return found

    def _cannot_be_looked_up(self) -> NDArray[np.bool_]:
        """Return whether each text has a character whose meaning in a word is not in the tables, (N,).

        A mark belongs to a word if it follows a letter or another mark. If it follows a letter that folding changes,
        the two may become one character.
        """
        codes = self._codes
        marks = np.flatnonzero(EXTENDING[codes])
        before = codes[marks - 1]
        follows = (LETTERS[before] | EXTENDING[before]) & ~np.isin(marks, self._starts)
        changes = (FOLDED[before] != before) | (before == ord(SHARP_S))
        odd = DEPENDENT[codes]
        odd[marks[~follows | changes]] = True
        return self._sums(odd) > 0

    def _sums(self, chosen: NDArray[Any]) -> NDArray[np.int64]:
        total = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum(chosen, out=total[1:])
        sums: NDArray[np.int64] = total[self._ends] - total[self._starts]
        return sums


def in_batches(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield lists of at most BATCH items, which also end when they have BATCH_CHARACTERS. `size` counts characters."""
    batch: list[T] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += size(item)
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def in_other_script(texts: Texts, code: str) -> NDArray[np.bool_]:
    """Return whether less than a third of each text is in the scripts of a language, (N,).

    A third is enough because names and terms keep their script: "SQLAlchemy を使う" is Japanese. Parts are measured by
    `languages.size`. If the scripts of the language are not known, no text is in another one.
    """
    pattern = languages.letters_in(code)
    if pattern is None:
        return np.zeros(len(texts.texts), dtype=bool)
    return 3 * texts.sum(sizes_of(pattern)) < texts.sum(sizes_of(languages.OF_SOME_SCRIPT))


@functools.cache
def table_of(pattern: regex.Pattern[str]) -> Table:
    """Return whether an expression for single characters, or for runs of them, matches a character."""
    return Table(lambda character: bool(pattern.fullmatch(character)))


@functools.cache
def sizes_of(pattern: regex.Pattern[str]) -> Table:
    """Return the size of each character that an expression matches, as `languages.size` measures it; 0 for others."""
    return Table(lambda character: languages.size(character) if pattern.fullmatch(character) else 0, np.uint8)


def _folded(character: str) -> int:
    """Return what a character is in a word, in one case, as a code point; a space if it is not a part of words."""
    if _is_letter(character):
        folded = character.casefold()
        return ord(folded if len(folded) == 1 else character)
    return ord(character) if _extends(character) else SPACE


def _depends(character: str) -> bool:
    """Return whether the meaning of a character in a word cannot be looked up.

    Invisible characters are removed, apostrophes belong to a word in some places, and compatibility forms (NFKC) or
    several letters may come of one character.
    """
    if languages.INVISIBLE.fullmatch(character) or languages.APOSTROPHES.fullmatch(character):
        return True
    folded = character.casefold()
    if _is_letter(character):
        is_several = len(folded) > 1 and character != SHARP_S
        return is_several or not all(unicodedata.is_normalized("NFKC", form) for form in (character, folded))
    return _extends(character) and (folded != character or not unicodedata.is_normalized("NFKC", character))


def _is_letter(character: str) -> bool:
    return bool(regex.fullmatch(r"\p{L}", character))


def _extends(character: str) -> bool:
    return bool(regex.fullmatch(r"[\p{M}\u200c\u200d]", character))


def codes_of(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


SPACES = Table(lambda character: character == " ")
LETTERS = Table(_is_letter)
EXTENDING = Table(_extends)  # belong to a word if they follow a letter: marks and joiners
OTHER_SEPARATORS = Table(lambda character: character != " " and bool(languages.SEPARATORS.fullmatch(character)))
FOLDED = Table(_folded, np.uint32)
DEPENDENT = Table(_depends)
