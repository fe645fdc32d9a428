"""Print the state of each stage: fresh, running, or stale and why. Argument: STAMPS_DIRECTORY, updated by Make."""

import sys
from pathlib import Path

from pipeline.plumbing.artifacts import find_manifest
from pipeline.plumbing.command import TARGETS, fail_clearly
from pipeline.plumbing.digests import Digests
from pipeline.plumbing.freshness import state_of_all
from pipeline.plumbing.lock import holder
from pipeline.plumbing.made_with import changed_libraries

VERIFIED = "verified.json"  # beside the stamps: digests of the artifacts' files


def status() -> None:
    home = Path(sys.argv[1]).parent
    print(home)
    directories = {stage: home / name for name, stage in TARGETS.items()}
    for stage, (state, reasons) in states_of(home).items():
        print(f"  {stage:10} {in_words(state, reasons)}{remark(directories[stage])}")


def states_of(home: Path) -> dict[str, tuple[str, list[str]]]:
    """Return the state of each stage and the reasons. `home` is the experiment's directory, with updated stamps."""
    stamps = home / "stamps"
    digests = Digests(stamps / VERIFIED)
    states = state_of_all(stamps, {stage: home / name for name, stage in TARGETS.items()}, digests.sha256)
    digests.save()
    if (worker := holder(home)) and worker.purpose in states:
        told = f"process {worker.process} on {worker.machine}, since {worker.since}"
        states[worker.purpose] = ("running", [told])
    return states


def in_words(state: str, reasons: list[str]) -> str:
    return f"{state}: {'; '.join(reasons)}" if reasons else state


def remark(artifact: Path) -> str:
    """Return a note with the libraries whose versions have changed since the artifact was made."""
    manifest = find_manifest(artifact)
    changes = list(changed_libraries(manifest.made_with)) if manifest else []
    return f" (made with {'; '.join(changes)})" if changes else ""


if __name__ == "__main__":
    fail_clearly(status)
