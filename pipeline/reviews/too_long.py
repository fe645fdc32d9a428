"""Leave out of the comparison the test sentences that are too long for a packaged translator.

A model takes sentences up to a limit (registry/limits.py), and a test set may have longer ones. They are left out for
both, in test sets of runs and of the settings alike: those of a run cannot be changed any more, and one long line of
the champion's would stop every review. How many pieces a sentence has is what a package says, in its sandbox. So that
no candidate chooses what it is tested on, a sentence that is too long for it but not for the champion is not left out:
its translation counts as empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .comparison import CANDIDATE, OPPONENT
from .measurement import Measurement


@dataclass(frozen=True)
class TooLong:
    """Lines, from 1, by test set; a test set without any is not there."""

    left_out: Mapping[str, Sequence[int]] = field(default_factory=dict)
    empty: Mapping[str, Sequence[int]] = field(default_factory=dict)  # too long for the candidate alone


def find_too_long(measurements: Mapping[str, Measurement]) -> TooLong:
    """`measurements`: of the candidate, and of the champion where there is one."""
    if not measurements:
        return TooLong()
    candidate, deciding = measurements[CANDIDATE].too_long, measurements.get(OPPONENT, measurements[CANDIDATE]).too_long
    alone = {name: set(places) - set(deciding[name]) for name, places in candidate.items()}
    return TooLong(_lines(deciding), _lines(alone))


def _lines(found: Mapping[str, Sequence[int] | set[int]]) -> dict[str, list[int]]:
    return {name: [place + 1 for place in sorted(places)] for name, places in found.items() if places}
