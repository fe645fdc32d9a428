"""Count translations with obvious faults.

- empty: nothing but white space.
- copied: the source, word for word, although the reference differs from it.
- looping: has 1 to 4 words four times or more in a row. In languages without spaces, has the letters of 1 to 4 words
  (see languages.letters_a_word) four times or more in a row; a number or a word of another script counts as a letter.
  Punctuation does not count. If the source or the reference repeats something as well ("no no no no"), it is no fault.
- undecodable: contains U+FFFD, which stands for bytes that are not a character.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.languages import letters_a_word, letters_and_runs, runs

TIMES = 4
LOOPED_WORDS = 4


@dataclass(frozen=True)
class Faults:
    """The share of a system's translations with each fault, from 0 to 1."""

    empty: float
    copied: float
    looping: float
    undecodable: float


def find_faults(
    sources: Sequence[str], references: Sequence[str], outputs: Sequence[str], target_language: str
) -> Faults:
    """Return the share of `outputs` with each fault. `outputs` are the translations of `sources`."""
    letters = letters_a_word(target_language)
    triples = list(zip(sources, references, outputs, strict=True))
    words = [tuple(text.split() for text in triple) for triple in triples]

    def share(flags: Sequence[bool]) -> float:
        return sum(flags) / len(outputs)

    return Faults(
        empty=share([not output for _, _, output in words]),
        copied=share([bool(output) and output == source != reference for source, reference, output in words]),
        looping=share(
            [_loops(output, letters) and not any(_loops(text, letters) for text in given) for *given, output in triples]
        ),
        undecodable=share(["\N{REPLACEMENT CHARACTER}" in output for output in outputs]),
    )


def _loops(text: str, letters: int | None) -> bool:
    """Return whether a text repeats itself. `letters`: the letters in a word, if the language has no spaces."""
    if _repeats(runs(text), LOOPED_WORDS):
        return True
    return letters is not None and _repeats(letters_and_runs(text), LOOPED_WORDS * letters)


def _repeats(units: Sequence[str], longest: int) -> bool:
    """Return whether a sequence of 1 to `longest` units occurs `TIMES` times in a row."""
    for length in range(1, longest + 1):
        equal = 0  # units in a row that equal the unit `length` before them
        for before, after in zip(units, units[length:], strict=False):
            equal = equal + 1 if before == after else 0
            if equal == length * (TIMES - 1):
                return True
    return False
