"""Say what kind of character each code point of a text is: a letter, a space, a mark.

`languages.py` says by regular expressions what a letter, a word or a script is. Here a character is asked for once,
when it first occurs, and NumPy looks up all characters of many texts in a table of the answers (texts.py).
"""

import functools
import unicodedata
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from . import languages

CODES = 0x110000  # of Unicode
SPACE, LINE_FEED, APOSTROPHE, LETTER_S, SHARP_S = map(ord, " \n'sß")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of hashes: odd, with as many ones as zeros

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


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes in which every bit depends on the whole sum that a hash was."""
    return (hashes ^ (hashes >> np.uint64(32))) * MULTIPLIER


def kinds_of(codes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], int]:
    """Return the kinds of some code points, and the number of the last kind among them."""
    last, kinds = len(_learners), _kinds[codes]  # in this order: a kind that is made meanwhile is not among them
    if not (kinds & SEEN).all():
        with _learning:
            new = np.unique(codes[(_kinds[codes] & SEEN) == 0])
            for learner in _learners:
                learner.learn(new)
            _kinds[new] |= SEEN
        last, kinds = len(_learners), _kinds[codes]
    return kinds, last


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
