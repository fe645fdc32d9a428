"""Find the faults of a translation that need no reference to be seen as such, and their shares of a test set.

- empty: nothing but white space.
- copied: the source word for word, where the reference is not.
- looping: 1 to 4 words repeated at once, four times or more in a row. In languages that are written without spaces:
  the letters of so many words (see languages.letters_a_word), where a number, or a word of another script, counts as a
  letter. Punctuation does not count. Not where the source or the reference loops too ("no no no no").
- undecodable: holds U+FFFD, which stands for bytes that are no character.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.languages import letters_a_word, letters_and_runs, runs

TIMES = 4
LOOPED_WORDS = 4


@dataclass(frozen=True)
class Faults:
    """Shares of a system's outputs, from 0 to 1."""

    empty: float
    copied: float
    looping: float
    undecodable: float


def find_faults(
    sources: Sequence[str], references: Sequence[str], outputs: Sequence[str], target_language: str
) -> Faults:
    """The shares among `outputs`, one for each source."""
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
    """`letters`: of a word, where words are written without spaces."""
    if _repeats(runs(text), LOOPED_WORDS):
        return True
    return letters is not None and _repeats(letters_and_runs(text), LOOPED_WORDS * letters)


def _repeats(units: Sequence[str], longest: int) -> bool:
    """Whether some run of 1 to `longest` units comes `TIMES` times in a row."""
    for length in range(1, longest + 1):
        equal = 0  # units in a row that are what stands `length` before them
        for before, after in zip(units, units[length:], strict=False):
            equal = equal + 1 if before == after else 0
            if equal == length * (TIMES - 1):
                return True
    return False
