"""Define the result of a review: both systems, their comparisons, the gates, the leaks, and how the review was made.

The result is stored as JSON beside the report. The modules `report` and `description` show it.
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
    """When and where a review was made, by whom, and with which settings, test sets and code."""

    time: str  # ISO 8601, UTC
    reviewer: str
    settings: Mapping[str, Any]  # the section `review`
    test_sets: Mapping[str, str]  # name -> digest of its sentences, see test_sets.py
    commit: str | None  # of the project whose code made the review
    hardware: str  # one line
    isolation: str  # of the packages' code, see registry/sandbox/isolation.py
    # Older reviews have none of these:
    origins: Mapping[str, Origin] = field(default_factory=dict)  # test set -> where it comes from
    experiment: str = "default"  # the experiment whose settings were used; for the commands to type next


@dataclass(frozen=True)
class Failure:
    """Why a candidate could not be compared."""

    reason: str
    said: str  # the last lines that its process wrote on standard error; this text comes from outside


@dataclass(frozen=True)
class AttentionMap:
    """A picture of the candidate's attention for one sentence. It is in the report, not in the JSON."""

    title: str  # the test set, the line and the sentence
    png: bytes


@dataclass(frozen=True)
class Review:
    """Everything that a review found."""

    candidate: System
    opponent: System  # the champion or, if there is none, the best baseline
    comparisons: Sequence[Comparison]  # one for each test set
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
        """Return whether all required gates hold. A candidate that could not be compared fails."""
        return "fail" if self.failure else judge_all(self.gates)

    def to_json(self) -> str:
        """Return the review as JSON."""
        return _ADAPTER.dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Review":
        """Return the review in a JSON text. Raise pydantic's ValidationError, a ValueError, if it is not a review."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Review)
