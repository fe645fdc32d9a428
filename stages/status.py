"""Print each stage: fresh, or stale and why. STAMPS_DIRECTORY, which Make has brought up to date."""

import sys
from pathlib import Path

from pipeline.plumbing.command import TARGETS, fail_clearly
from pipeline.plumbing.freshness import stale_reasons


def status() -> None:
    stamps = Path(sys.argv[1])
    artifacts = {stage: stamps.parent / name for name, stage in TARGETS.items()}
    print(stamps.parent)
    for stage, reasons in stale_reasons(stamps, artifacts).items():
        print(f"  {stage:10} {describe(reasons)}")


def describe(reasons: list[str]) -> str:
    if not reasons:
        return "fresh"
    return reasons[0] if reasons[0] in ("never run", "interrupted") else f"stale: {'; '.join(reasons)}"


if __name__ == "__main__":
    fail_clearly(status)
