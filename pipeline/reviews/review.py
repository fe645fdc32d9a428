"""The result of a review as data: both systems, their comparisons, the gates, the leaks, and how it was made.

It is kept as JSON beside the report. `report` and `description` show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from .comparison import Comparison, System
from .gates import Gate, judge_all
from .leaks import Leaks
from .measurement import TooLong
from .test_sets import Origin
from .version_changes import VersionChange


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
    # Older reviews have none of these:
    origins: Mapping[str, Origin] = field(default_factory=dict)  # test set -> whose it is
    experiment: str = "default"  # whose settings were used, for the commands that follow


@dataclass(frozen=True)
class Failure:
    """Why a candidate could not be compared."""

    reason: str
    said: str  # the last lines that its process wrote on standard error; foreign text


@dataclass(frozen=True)
class AttentionMap:
    """A picture of the candidate's attention for one sentence. It is in the report, not in the JSON."""

    title: str  # the test set, the line and the sentence
    png: bytes


@dataclass(frozen=True)
class Review:
    """All that a review found."""

    candidate: System
    opponent: System  # the champion; where there is none, the best baseline
    comparisons: Sequence[Comparison]  # one a test set
    gates: Sequence[Gate]
    leaks: Leaks
    provenance: Provenance
    failure: Failure | None = None  # of the candidate; then there are no comparisons
    # Older reviews have none of these:
    too_long: TooLong = field(default_factory=TooLong)
    changes: Sequence[VersionChange] = ()  # from the champion to the candidate
    card: str = ""  # the candidate's short model card, Markdown

    @property
    def verdict(self) -> Literal["pass", "fail", "inconclusive"]:
        """Whether all required gates hold; a candidate that could not be compared fails."""
        return "fail" if self.failure else judge_all(self.gates)

    def to_json(self) -> str:
        """Return the review as JSON."""
        return _ADAPTER.dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Review":
        """Read a review. Raises pydantic's ValidationError, a ValueError, if `text` is none."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Review)
