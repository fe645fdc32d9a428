"""Find work that would be lost with an experiment's directory, because it is in no artifact and not in MLflow."""

import time
from pathlib import Path

from ..plumbing.artifacts import MANIFEST, experiment_option
from ..plumbing.tracking.record import TRAINING, unsent


def unfinished_work(home: Path) -> list[str]:
    """Return a description of each piece of unfinished work in an experiment's directory, with the command to run."""
    told = []
    checkpoints = [path for path in home.glob(f"{TRAINING}/checkpoints/*/{MANIFEST}") if path.parent.name.isdigit()]
    if checkpoints:
        newest = max(checkpoints, key=lambda path: int(path.parent.name))
        saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(newest.stat().st_mtime))
        told.append(
            f"a training that is not finished: its last checkpoint is of step {int(newest.parent.name):,}, saved "
            f"{saved} (make train{experiment_option(home.name)} continues from there)"
        )
    if records := unsent(home):
        told.append(f"metrics of {len(records)} earlier trainings that MLflow does not have yet (make sync sends them)")
    return told
