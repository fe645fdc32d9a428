"""Find the test sentences that the candidate or the champion was trained on, and leave them out of the comparison.

A model has an advantage on sentences of its training data. So sentences that either model was trained on are left out
for both. The gate `leak` also fails a candidate that was trained on more of a test set than the settings allow. A
champion of this kind does not fail the review, because the comparison is fair without these sentences. If the champion
cannot be checked, its scores may be too high. This only makes it harder for the candidate to pass, so it causes a
warning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.facts import Side
from ..data.fingerprints import find_known
from .test_sets import TestSet

SHOWN = 20


@dataclass(frozen=True)
class Leak:
    """A test sentence whose source or target is in the training data of `system`."""

    system: str  # candidate or opponent
    test_set: str
    line: int  # from 1
    side: Side
    text: str


@dataclass(frozen=True)
class Leaks:
    """The leaks of all test sets. Every mapping with test sets as keys has all of them."""

    test_sets: Mapping[str, int]  # name -> sentences, before any are left out
    counts: Mapping[str, Mapping[str, int]]  # system -> test set -> sentences that it was trained on
    left_out: Mapping[str, int]  # test set -> sentences that at least one system was trained on
    unchecked: Sequence[str]  # systems whose training data are not known
    examples: Sequence[Leak]  # at most SHOWN


def find_leaks(test_sets: Sequence[TestSet], trained_on: Mapping[str, Path]) -> tuple[Leaks, dict[str, list[int]]]:
    """Look up each test sentence in the fingerprints of each system's training data.

    Return the leaks and, for each test set, the indices of the sentences that no system was trained on.
    """
    examples: list[Leak] = []
    seen: dict[str, set[int]] = {test_set.name: set() for test_set in test_sets}
    counts: dict[str, dict[str, int]] = {}
    for system, path in trained_on.items():
        for test_set in test_sets:
            known = find_known(path, test_set.sources, test_set.references)
            if known is None:
                break
            counts.setdefault(system, {})[test_set.name] = len(known)
            seen[test_set.name] |= known.keys()
            for index, side in known.items():
                text = (test_set.sources if side == "source" else test_set.references)[index]
                examples.append(Leak(system, test_set.name, index + 1, side, text))
    kept = {s.name: [index for index in range(len(s.sources)) if index not in seen[s.name]] for s in test_sets}
    leaks = Leaks(
        test_sets={test_set.name: len(test_set.sources) for test_set in test_sets},
        counts=counts,
        left_out={name: len(indices) for name, indices in seen.items()},
        unchecked=[system for system in trained_on if system not in counts],
        examples=examples[:SHOWN],
    )
    return leaks, kept
