"""What one review found, as data: both systems, their comparisons, the gates, leaks, and where it comes from.

Kept as JSON beside the pages made of it. How it is shown is `report`'s and `description`'s; nothing is computed here
but the verdict, which the gates give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from .comparison import Comparison, System
from .gates import Gate, judge_all
from .leaks import Leaks
from .test_sets import Origin
from .too_long import TooLong


@dataclass(frozen=True)
class Provenance:
    """When, by whom, with what and where the review was made."""

    time: str  # ISO 8601, UTC
    reviewer: str
    settings: Mapping[str, Any]  # the section `review`
    test_sets: Mapping[str, str]  # name -> digest of its sentences, see test_sets.py
    commit: str | None  # of the project that reviewed
    hardware: str  # one line
    isolation: str  # of the packages' code, see registry/sandbox/isolation.py
    origins: Mapping[str, Origin] = field(default_factory=dict)  # test set -> whose it is; older reviews have none


@dataclass(frozen=True)
class Failure:
    """Why a candidate could not be compared."""

    reason: str
    said: str  # the last lines of its process; foreign text


@dataclass(frozen=True)
class AttentionMap:
    """A picture of attention, kept beside a review and not in its JSON."""

    title: str
    png: bytes


@dataclass(frozen=True)
class Review:
    candidate: System
    opponent: System  # the champion; where there is none, the best baseline
    comparisons: Sequence[Comparison]  # one a test set
    gates: Sequence[Gate]
    leaks: Leaks
    provenance: Provenance
    failure: Failure | None = None  # of the candidate; then there are no comparisons
    too_long: TooLong = field(default_factory=TooLong)  # older reviews have none

    @property
    def verdict(self) -> Literal["pass", "fail", "inconclusive"]:
        return "fail" if self.failure else judge_all(self.gates)

    def to_json(self) -> str:
        return _ADAPTER.dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Review":
        """Raises pydantic's ValidationError, a ValueError, where `text` is no review."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Review)
