"""Tell what would be lost with an experiment's directory: work that is in no artifact and not in MLflow."""

import time
from pathlib import Path

from ..plumbing.artifacts import MANIFEST, experiment_option
from ..plumbing.tracking.record import TRAINING, unsent


def unfinished_work(home: Path) -> list[str]:
    """Return the unfinished work in an experiment's directory: for each piece a description and the command to type."""
    told = []
    checkpoints = [path for path in home.glob(f"{TRAINING}/checkpoints/*/{MANIFEST}") if path.parent.name.isdigit()]
    if checkpoints:
        newest = max(checkpoints, key=lambda path: int(path.parent.name))
        saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(newest.stat().st_mtime))
        told.append(
            f"a training that is not finished: its last checkpoint is of step {int(newest.parent.name):,}, saved "
            f"{saved} (make train{experiment_option(home.name)} goes on from there)"
        )
    if records := unsent(home):
        told.append(f"metrics of {len(records)} earlier trainings that MLflow does not have yet (make sync sends them)")
    return told
