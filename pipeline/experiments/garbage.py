"""Find files in `build` that nothing needs: leftovers of dead processes, and downloads and outputs of no experiment.

In case of doubt a file is kept: work in progress, files that a process works on, and files that a registered version
was made from. This module removes nothing. It leaves MLflow's store alone: `mlflow gc` does not check whether a
registered version needs a deleted run, and cannot be limited to some runs without removing experiments.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data.sources.packages import PACKAGES
from ..plumbing.artifacts import MANIFEST
from ..plumbing.command import TARGETS
from ..plumbing.disk import REMOVED
from ..plumbing.lock import holder
from ..plumbing.params import DownloadSettings
from .unfinished import unfinished_work

DAY = 86_400.0  # seconds; a file that is written without a lock may belong to a living process until this age
WHEELS, HUB = "wheels", "hub"
STAMPS = "stamps"


@dataclass
class Garbage:
    """The paths that can be removed and those that are kept, each with the reason."""

    free: dict[Path, str] = field(default_factory=dict)
    kept: dict[Path, str] = field(default_factory=dict)


def find_garbage(
    build: Path, experiments: Mapping[str, DownloadSettings], versions: Mapping[str, Sequence[str]]
) -> Garbage:
    """Find the garbage in `build`.

    `experiments`: experiment -> where it takes its data from, for each that has a file. `versions`: experiment -> the
    registered versions that it made.
    """
    found = Garbage()
    homes = experiment_directories(build)
    running = {home: str(process) for home in homes if (process := holder(home))}
    for home in homes:
        if home in running:
            found.kept[home] = f"in use by {running[home]}"
        elif home.name in experiments:
            found.free |= dict.fromkeys(leftovers(home), "left by a process that is dead")
        elif why := _needed(home, versions):
            found.kept[home] = why
        else:
            first, *under = (f"experiments/{name}.yaml" for name in home.name.split("@"))
            found.free[home] = f"{first} or {under[0]} is missing" if under else f"there is no {first}"
    found.free |= dict.fromkeys(sorted(build.glob(REMOVED)), "left by an interrupted removal")
    if running:
        found.kept |= {path: "downloads may be in use" for name in (WHEELS, HUB) if (path := build / name).is_dir()}
    else:
        found.free |= dict(_unused_downloads(build, experiments.values()))
    return found


def experiment_directories(build: Path) -> list[Path]:
    """Return the directories of all experiments, including those that no longer have a file."""
    return sorted(path for path in build.glob("[!.]*/") if _is_home(path))


def leftovers(home: Path) -> list[Path]:
    """Return the files that dead processes have left in an experiment. Call this only if no process works on it."""
    scratch = [*home.glob("*.tmp"), *home.glob("model.training/checkpoints/*.tmp")]
    old = [path for path in home.glob("*.old") if path.with_suffix("").exists()]  # otherwise it is the only copy
    stamps = [path for path in home.glob(f"{STAMPS}/*.tmp") if time.time() - path.stat().st_mtime > DAY]
    return sorted([*scratch, *old, *stamps])


def _is_home(path: Path) -> bool:
    return (path / STAMPS).is_dir() or any((path / name / MANIFEST).exists() for name in TARGETS)


def _needed(home: Path, versions: Mapping[str, Sequence[str]]) -> str:
    """Return why an experiment without a file must be kept; an empty string if it need not be kept."""
    if made := versions.get(home.name):
        return f"{', '.join(made)} {'was' if len(made) == 1 else 'were'} made from it"
    return "; ".join(unfinished_work(home))


def _unused_downloads(build: Path, settings: Collection[DownloadSettings]) -> Iterator[tuple[Path, str]]:
    """Yield each download that no experiment needs, and the reason. Call this only while no process downloads."""
    languages = {x for s in settings if s.source == "wheels" for x in (s.source_language, s.target_language)}
    wheels = {package.wheel for package in PACKAGES if languages & package.languages.keys()}
    repositories = {f"datasets--{s.hub.dataset.replace('/', '--')}" for s in settings if s.source == "hub"}
    for path in sorted(build.glob(f"{WHEELS}/*")):
        if path.name not in wheels:
            yield path, "no experiment reads it"
    for path in sorted(build.glob(f"{HUB}/datasets--*")):
        if path.name not in repositories:
            yield path, "no experiment reads it"
    for path in sorted(build.glob(f"{HUB}/datasets--*/blobs/*.incomplete")):
        if path.parents[1].name in repositories:
            yield path, "an interrupted download"
