"""Write and read the record of a training: run.json, with its settings and status, and the journal of its metrics.

During training the record is beside the checkpoints, and afterwards it is in the model's artifact. If another training
is about to replace it, the record is set aside until MLflow has all of it. MLflow's run is a copy of the record (see
replica.py). This module does not use MLflow.
"""

import getpass
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..artifacts import write_json
from .journal import JOURNAL, read_journal

RECORD = "run.json"
# Directories of an experiment that contain records:
TRAINING = "model.training"  # of the training that is running or was interrupted, beside its checkpoints
MODEL = "model"  # of the training that made the model
UNSENT = "unsent"  # of trainings that were set aside, each in a subdirectory with the name of its attempt


@dataclass(frozen=True)
class DatasetRecord:
    """A split of the corpus, described as MLflow describes a data set."""

    name: str
    digest: str
    source_type: str
    source: str  # JSON
    profile: str  # JSON
    context: str  # training, validation or test


@dataclass(frozen=True)
class Record:
    """The content of run.json. Times are in Unix milliseconds."""

    attempt: str  # identifies this training; not chosen by MLflow, so that its errors cannot make two runs
    training: str  # digest of everything that the training depends on
    experiment: str
    started: int
    commit: str | None
    settings: dict[str, str]
    datasets: list[DatasetRecord]
    user: str = ""  # who started it; empty in older records
    status: str = "RUNNING"  # or FINISHED, FAILED, KILLED, as in MLflow
    ended: int | None = None

    def write(self, directory: Path) -> None:
        """Write run.json in one step."""
        write_json(directory / RECORD, asdict(self))

    def end(self, status: str, time: int) -> "Record":
        """Return the record with the status and time of the end."""
        return replace(self, status=status, ended=time)


def read_record(directory: Path) -> Record:
    """Read the record in a directory."""
    content = json.loads((directory / RECORD).read_bytes())
    return Record(**content | {"datasets": [DatasetRecord(**dataset) for dataset in content["datasets"]]})


def begin(
    directory: Path, home: Path, training: str, settings: Mapping[str, Any], datasets: list[DatasetRecord]
) -> Record:
    """Begin the record of a training in `directory`, or continue the record there if it is of the same `training`.

    `home` is the experiment's directory. This training will replace the experiment's model, so the record of that model
    is set aside. A record of another training in `directory` is set aside too.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if (home / MODEL / RECORD).exists():
        set_aside(home / MODEL, home)
    record = read_record(directory) if (directory / RECORD).exists() else None
    if record and record.training != training:
        set_aside(directory, home)
        record = None
    if record is None:
        # In this order, so that after a kill no journal is beside the run.json of another training.
        (directory / RECORD).unlink(missing_ok=True)
        (directory / JOURNAL).unlink(missing_ok=True)
        attempt, experiment, known = uuid.uuid4().hex, home.name, flatten(settings)
        record = Record(attempt, training, experiment, now(), git_commit(), known, datasets, user_name())
    shutil.rmtree(home / UNSENT / record.attempt, ignore_errors=True)  # this record is in use again
    record = replace(record, status="RUNNING", ended=None)
    record.write(directory)
    return record


def killed(directory: Path) -> Record:
    """Return the record of a training whose process has ended, as KILLED if the process recorded no end."""
    record = read_record(directory)
    if record.status != "RUNNING":
        return record
    times = [entry.time for entry in read_journal(directory / JOURNAL)] if (directory / JOURNAL).exists() else []
    return record.end("KILLED", max(times, default=record.started))


def set_aside(directory: Path, home: Path) -> None:
    """Copy the record in `directory`, which another training will replace, to the experiment's unsent records."""
    record = killed(directory)
    scratch, target = home / f"{UNSENT}.tmp", home / UNSENT / record.attempt
    for path in (scratch, target):
        shutil.rmtree(path, ignore_errors=True)
    scratch.mkdir(parents=True)
    if (directory / JOURNAL).exists():
        shutil.copy(directory / JOURNAL, scratch)
    record.write(scratch)
    target.parent.mkdir(exist_ok=True)
    os.rename(scratch, target)


def unsent(home: Path) -> list[Path]:
    """Return the directories of the experiment's records that were set aside."""
    return sorted(path.parent for path in home.glob(f"{UNSENT}/*/{RECORD}"))


def now() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def user_name() -> str:
    """Return the name of the user's account on MLflow's server, or else on this machine."""
    if account := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return account
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container a process may run as a user who has no name
        return f"user {os.getuid()}"


def git_commit() -> str | None:
    """Return the commit of this project, with `-dirty` if files were changed; None outside of git."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(command, check=False, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return run.stdout.strip() or None


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as `train.learning_rate` -> text. Values that are not text become JSON."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
