"""Find the test sentences that candidate or champion were trained on, and leave them out of the comparison.

Whoever saw a test sentence in training has an advantage there. So what either has seen is left out for both; and the
gate `leak` fails a candidate that was trained on more of a test set than the settings allow. A champion is not failed:
it is the one to beat, and without the sentences that it has seen it is beaten fairly. A champion that cannot be checked
can only make it harder for the candidate, so this is a warning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.fingerprints import Side, find_known
from .test_sets import TestSet

SHOWN = 20


@dataclass(frozen=True)
class Leak:
    """A test sentence of which `system` was trained on one side."""

    system: str  # candidate or opponent
    test_set: str
    line: int  # from 1
    side: Side
    text: str


@dataclass(frozen=True)
class Leaks:
    """All that is known of leaks; every mapping by test set has all of them."""

    test_sets: Mapping[str, int]  # name -> sentences, before any are left out
    counts: Mapping[str, Mapping[str, int]]  # system -> test set -> sentences that it was trained on
    left_out: Mapping[str, int]  # test set -> sentences that any of them was trained on
    unchecked: Sequence[str]  # systems of whose training corpus nothing is known
    examples: Sequence[Leak]  # at most SHOWN


def find_leaks(
    test_sets: Sequence[TestSet], trained_on: Mapping[str, Path | None]
) -> tuple[Leaks, dict[str, list[int]]]:
    """Look in the fingerprints of each system, None where it has none; and return the places to be compared."""
    examples: list[Leak] = []
    seen: dict[str, set[int]] = {test_set.name: set() for test_set in test_sets}
    counts: dict[str, dict[str, int]] = {}
    for system, path in trained_on.items():
        for test_set in test_sets:
            known = find_known(path, test_set.sources, test_set.references) if path else None
            if known is None:
                break
            counts.setdefault(system, {})[test_set.name] = len(known)
            seen[test_set.name] |= known.keys()
            for place, side in known.items():
                text = (test_set.sources if side == "source" else test_set.references)[place]
                examples.append(Leak(system, test_set.name, place + 1, side, text))
    kept = {s.name: [place for place in range(len(s.sources)) if place not in seen[s.name]] for s in test_sets}
    leaks = Leaks(
        test_sets={test_set.name: len(test_set.sources) for test_set in test_sets},
        counts=counts,
        left_out={name: len(places) for name, places in seen.items()},
        unchecked=[system for system in trained_on if system not in counts],
        examples=examples[:SHOWN],
    )
    return leaks, kept
