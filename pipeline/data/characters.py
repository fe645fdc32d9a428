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
from .text import normal_form

CODES = 0x110000  # of Unicode
BATCH, BATCH_CHARACTERS = 10_000, 2_000_000  # of texts whose characters are looked up together: some 100 MB
SPACE, LINE_FEED, APOSTROPHE, LETTER_S, SHARP_S = map(ord, " \n'sß")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of hashes: odd, with as many ones as zeros

T = TypeVar("T")

_kinds = np.zeros(CODES, dtype=np.uint32)  # the answers of all Kinds, by code point: a bit each
_learning = Lock()  # a kind that is made while another thread adds characters must get them, too
_learners: list["Kind | Numbers"] = []
SEEN = np.uint32(1)  # the bit of the characters that occurred in Texts, so that all learners know them


class Kind:
    """A kind of character, such as letters: the answer of a function of one character, for those in Texts."""

    def __init__(self, is_one: Callable[[str], bool]) -> None:
        self.is_one = is_one
        with _learning:
            self.bit = np.uint32(2 << sum(isinstance(learner, Kind) for learner in _learners))
            self.learn(np.flatnonzero(_kinds & SEEN))
            _learners.append(self)
            self.number = len(_learners)

    def learn(self, codes: NDArray[np.integer]) -> None:
        """Ask for the answers of some code points."""
        _kinds[[code for code in codes.tolist() if self.is_one(chr(code))]] |= self.bit

    def __call__(self, kinds: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return the answers for characters of which `Texts` has looked up the kinds."""
        found: NDArray[np.bool_] = (kinds & self.bit) != 0
        return found


class Numbers:
    """A number for each character: the answer of a function of one character, for those in Texts."""

    def __init__(self, number: Callable[[str], int], dtype: type[np.unsignedinteger[Any]]) -> None:
        self.number = number
        self._answers = np.zeros(CODES, dtype=dtype)
        with _learning:
            self.learn(np.flatnonzero(_kinds & SEEN))
            _learners.append(self)

    def learn(self, codes: NDArray[np.integer]) -> None:
        """Ask for the answers of some code points."""
        self._answers[codes] = [self.number(chr(code)) for code in codes.tolist()]

    def __getitem__(self, codes: NDArray[np.uint32]) -> NDArray[Any]:
        """Return the answers for code points that occurred in Texts."""
        return self._answers[codes]


class Texts:
    """A batch of N texts with C characters in all."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.lengths = np.fromiter(map(len, texts), np.int64, len(texts))  # (N,)
        self._ends = np.cumsum(self.lengths + 1) - 1  # of each text; a line feed stands there
        self._starts = self._ends - self.lengths
        self._codes = codes_of("".join(f"{text}\n" for text in texts))  # (C + N,)
        self._look_up()
        if not (self._kinds & SEEN).all():
            with _learning:
                new = np.unique(self._codes[(_kinds[self._codes] & SEEN) == 0])
                for learner in _learners:
                    learner.learn(new)
                _kinds[new] |= SEEN
            self._look_up()

    def _look_up(self) -> None:
        self._known = len(_learners)
        self._kinds = _kinds[self._codes]  # (C + N,)
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


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes in which every bit depends on the whole sum that a hash was."""
    return (hashes ^ (hashes >> np.uint64(32))) * MULTIPLIER


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


@functools.cache
def kind_of(pattern: regex.Pattern[str]) -> Kind:
    """Return the characters that an expression for single characters, or for runs of them, matches."""
    return Kind(lambda character: bool(pattern.fullmatch(character)))


@functools.cache
def sizes_of(pattern: regex.Pattern[str]) -> Numbers:
    """Return the size of each character that an expression matches, as `languages.size` measures it; 0 for others."""
    return Numbers(lambda character: languages.size(character) if pattern.fullmatch(character) else 0, np.uint8)


def _folded(character: str) -> int:
    """Return what a character is in a word, in one case, as a code point; a space if it is not a part of words."""
    if _is_letter(character):
        folded = character.casefold()
        return ord(folded if len(folded) == 1 else character)
    return ord(character) if _extends(character) else SPACE


def _depends(character: str) -> bool:
    """Return whether the meaning of a character in a word cannot be looked up.

    Invisible characters are removed, letters that serve as apostrophes may change, and compatibility forms (NFKC) or
    several letters may come of one character.
    """
    if languages.INVISIBLE.fullmatch(character):
        return True
    folded = character.casefold()
    if _is_letter(character):
        if languages.APOSTROPHES.fullmatch(character):
            return True
        is_several = len(folded) > 1 and ord(character) != SHARP_S
        return is_several or not all(unicodedata.is_normalized("NFKC", form) for form in (character, folded))
    return _extends(character) and (folded != character or not unicodedata.is_normalized("NFKC", character))


def _is_letter(character: str) -> bool:
    return bool(regex.fullmatch(r"\p{L}", character))


def _extends(character: str) -> bool:
    return bool(regex.fullmatch(r"[\p{M}\u200c\u200d]", character))


def codes_of(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _composes(character: str) -> bool:
    """Return whether a character may change in NFC, alone or behind another: also marks, and parts of Hangul."""
    is_mark = unicodedata.category(character).startswith("M") or unicodedata.combining(character)
    return bool(is_mark or HANGUL.match(character) or not unicodedata.is_normalized("NFC", character))


HANGUL = regex.compile(r"[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
COMPOSING = Kind(_composes)
OTHER_SPACES = Kind(lambda character: character.isspace() and character != " ")
SPACES = Kind(lambda character: character == " ")
LETTERS = Kind(_is_letter)
EXTENDING = Kind(_extends)  # belong to a word if they follow a letter: marks and joiners
OTHER_SEPARATORS = Kind(lambda character: character != " " and bool(languages.SEPARATORS.fullmatch(character)))
APOSTROPHES = Kind(lambda character: bool(languages.APOSTROPHES.fullmatch(character)) and not _is_letter(character))
FOLDED = Numbers(_folded, np.uint32)
DEPENDENT = Kind(_depends)
