"""Read the test sets of a review: the candidate's, the champion's, and those that the settings name.

The author of a candidate chose its test sets and their references. So the champion's test sets are used as well.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..data.cleaning import with_text
from ..plumbing.artifacts import Artifact
from ..plumbing.errors import UserError
from ..plumbing.params import FilesSettings, ReviewSettings
from ..plumbing.split_names import same_names
from ..scoring.facts import EvaluationFacts

Origin = Literal["candidate", "champion", "both", "settings"]  # where a test set comes from

BASELINES = {"memory": "translation memory", "copy": "source copied"}


@dataclass(frozen=True)
class TestSet:
    """Sentences with their references, and the translations of the baselines."""

    __test__ = False  # otherwise pytest would take this class for a test

    name: str
    sources: Sequence[str]
    references: Sequence[str]
    baselines: Mapping[str, Sequence[str]]  # name -> its translations
    origin: Origin
    blank: int = 0  # pairs left out because one side has no text

    @property
    def digest(self) -> str:
        """Hex sha256 of the sources and references."""
        return hashlib.sha256(json.dumps([list(self.sources), list(self.references)]).encode()).hexdigest()


def read_test_sets(
    evaluation: Artifact, champion: Artifact | None, settings: ReviewSettings, languages: tuple[str, str]
) -> list[TestSet]:
    """Return the test sets of both runs, with two baselines, then those of the settings, with only the baseline `copy`.

    `evaluation` is the evaluation of the candidate, and `champion` that of the champion. A test set that both have is
    returned once.
    """
    own = _own(evaluation, champion)
    for name, other in same_names([*(test_set.name for test_set in own), *settings.test_sets]):
        raise UserError(
            f"review.test_sets.{name}: the run of the candidate or of the champion has a test set of this name "
            f"({other}); choose another name"
        )
    return own + (_named(settings, languages) if settings.test_sets else [])


def _own(candidate: Artifact, champion: Artifact | None) -> list[TestSet]:
    """Return the test sets of the candidate's and the champion's run.

    If two test sets differ but have the same name, the champion's is renamed to `NAME of the champion`.
    """
    found = [_evaluated(candidate, name, "candidate") for name in EvaluationFacts.of(candidate).test_sets]
    if champion is None:
        return found
    for name in EvaluationFacts.of(champion).test_sets:
        theirs = _evaluated(champion, name, "champion")
        if same := [index for index, ours in enumerate(found) if ours.digest == theirs.digest]:
            found[same[0]] = replace(found[same[0]], origin="both")
            continue
        while any(same_names([test_set.name, name]) for test_set in found):
            name += " of the champion"
        found.append(replace(theirs, name=name))
    return found


def _evaluated(evaluation: Artifact, name: str, origin: Origin) -> TestSet:
    sources, references, memory = (
        _lines(evaluation.path(f"{name}.{part}.txt")) for part in ("source", "reference", "memory")
    )
    return TestSet(name, sources, references, {BASELINES["memory"]: memory, BASELINES["copy"]: sources}, origin)


def _named(settings: ReviewSettings, languages: tuple[str, str]) -> list[TestSet]:
    from ..data.sources.files import read_files  # slow to import

    reading = read_files(FilesSettings(splits=settings.test_sets), languages, "review.test_sets")
    found = []
    for name, read in reading.splits.items():
        pairs = list(read)
        kept = with_text(pairs, f"review.test_sets.{name}")
        sources, references = [pair.source for pair in kept], [pair.target for pair in kept]
        baselines, blank = {BASELINES["copy"]: sources}, len(pairs) - len(kept)
        found.append(TestSet(name, sources, references, baselines, "settings", blank))
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
