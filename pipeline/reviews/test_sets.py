"""Read the test sets that a review looks at: those of the candidate's run, and those that the settings name."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.cleaning import with_text
from ..plumbing.artifacts import Artifact
from ..plumbing.errors import UserError
from ..plumbing.params import FilesSettings, ReviewSettings
from ..plumbing.split_names import same_names

BASELINES = {"memory": "translation memory", "copy": "source copied"}


@dataclass(frozen=True)
class TestSet:
    __test__ = False  # no test of pytest's

    name: str
    sources: Sequence[str]
    references: Sequence[str]
    baselines: Mapping[str, Sequence[str]]  # name -> its translations
    blank: int = 0  # pairs left out, since a side of theirs has no text

    @property
    def digest(self) -> str:
        """Hex sha256 of the sources and references: what a translation is scored against."""
        return hashlib.sha256(json.dumps([list(self.sources), list(self.references)]).encode()).hexdigest()


def read_test_sets(evaluation: Artifact, settings: ReviewSettings, languages: tuple[str, str]) -> list[TestSet]:
    """The run's own test sets with both baselines, then those of the settings with copying alone."""
    own = [_own(evaluation, name) for name in evaluation.facts["test_sets"]]
    for name, other in same_names([*(test_set.name for test_set in own), *settings.test_sets]):
        raise UserError(
            f"review.test_sets.{name}: the run of the candidate has a test set of this name ({other}); give another"
        )
    return own + (_named(settings, languages) if settings.test_sets else [])


def _own(evaluation: Artifact, name: str) -> TestSet:
    sources, references, memory = (
        _lines(evaluation.path(f"{name}.{part}.txt")) for part in ("source", "reference", "memory")
    )
    return TestSet(name, sources, references, {BASELINES["memory"]: memory, BASELINES["copy"]: sources})


def _named(settings: ReviewSettings, languages: tuple[str, str]) -> list[TestSet]:
    from ..data.sources.files import read_files  # slow to import

    reading = read_files(FilesSettings(splits=settings.test_sets), languages, "review.test_sets")
    found = []
    for name, pairs in reading.splits.items():
        kept = with_text(pairs, f"review.test_sets.{name}")
        sources, references = [pair.source for pair in kept], [pair.target for pair in kept]
        found.append(TestSet(name, sources, references, {BASELINES["copy"]: sources}, len(pairs) - len(kept)))
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
