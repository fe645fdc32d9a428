"""Owns the record of a training on disk: run.json, which says what is trained and how it went, and the journal.

It lies beside the checkpoints during training and in the model's artifact afterwards; when another training takes its
place, it is kept until MLflow has all of it. Knows nothing of MLflow, which shows a copy (see replica.py).
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

from ..artifacts import Artifact, write_json
from .journal import JOURNAL, read_journal

RECORD = "run.json"
# Directories of an experiment that have records:
TRAINING = "model.training"  # of the training that is at work or was interrupted, beside its checkpoints
MODEL = "model"  # of the training that made the model
UNSENT = "unsent"  # of those whose place another training took, each in a subdirectory named by its attempt


@dataclass(frozen=True)
class Record:
    """What run.json says. Times are in Unix milliseconds."""

    attempt: str  # names this training and no other, chosen before MLflow is asked: no trouble there can make two runs
    training: str  # digest of all that the training depends on
    experiment: str
    started: int
    commit: str | None
    settings: dict[str, str]
    datasets: list[dict[str, str]]
    user: str = ""  # who started it; records of before do not say
    status: str = "RUNNING"  # FINISHED, FAILED, KILLED: MLflow's words
    ended: int | None = None

    def write(self, directory: Path) -> None:
        """Write run.json, at once and whole."""
        write_json(directory / RECORD, asdict(self))

    def end(self, status: str, time: int) -> "Record":
        """The record of a training that has ended."""
        return replace(self, status=status, ended=time)


def read_record(directory: Path) -> Record:
    """The record in a directory."""
    return Record(**json.loads((directory / RECORD).read_bytes()))


def begin(directory: Path, home: Path, training: str, settings: Mapping[str, Any], corpus: Artifact) -> Record:
    """Write the record of a training that begins in `directory`, or goes on there if it is the same `training`.

    `home` is the experiment's directory. The records of its model, which this training's will replace, and of another
    training in `directory` are set aside.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if (home / MODEL / RECORD).exists():
        set_aside(home / MODEL, home)
    record = read_record(directory) if (directory / RECORD).exists() else None
    if record and record.training != training:
        set_aside(directory, home)
        record = None
    if record is None:
        # In this order a kill leaves no journal beside the run.json of another.
        (directory / RECORD).unlink(missing_ok=True)
        (directory / JOURNAL).unlink(missing_ok=True)
        datasets = [_dataset(corpus, split) for split in corpus.facts["splits"]]
        record = Record(
            uuid.uuid4().hex, training, home.name, now(), git_commit(), flatten(settings), datasets, user_name()
        )
    shutil.rmtree(home / UNSENT / record.attempt, ignore_errors=True)  # it has its place again
    record = replace(record, status="RUNNING", ended=None)
    record.write(directory)
    return record


def killed(directory: Path) -> Record:
    """The record in `directory`, whose process is known to be dead; if it did not tell its end, it was killed."""
    record = read_record(directory)
    if record.status != "RUNNING":
        return record
    times = [entry.time for entry in read_journal(directory / JOURNAL)] if (directory / JOURNAL).exists() else []
    return record.end("KILLED", max(times, default=record.started))


def set_aside(directory: Path, home: Path) -> None:
    """Copy the record in `directory`, whose place another training takes, to the experiment's unsent ones."""
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
    """The directories of the experiment's records that have lost their place."""
    return sorted(path.parent for path in home.glob(f"{UNSENT}/*/{RECORD}"))


def now() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def user_name() -> str:
    """Return the name of the account on MLflow's server, or else on this machine."""
    if account := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return account
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container a process may run as a user who has no name
        return f"user {os.getuid()}"


def git_commit() -> str | None:
    """The commit of this project's working tree, `-dirty` with changes; None where it is no git repository."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(command, check=False, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return run.stdout.strip() or None


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `train.learning_rate`: text; lists as JSON."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat


def dataset_name(corpus: Artifact, split: str) -> str:
    """Return the name by which MLflow knows a split of the corpus."""
    return f"{corpus.facts['source_language']} to {corpus.facts['target_language']}, {split}"


def _dataset(corpus: Artifact, split: str) -> dict[str, str]:
    """A split of the corpus as MLflow records data: by the digest of its file and where its text comes from."""
    facts = corpus.facts
    return {
        "name": dataset_name(corpus, split),
        "digest": corpus.files[f"{split}.parquet"]["sha256"],
        "source_type": "code",
        "source": json.dumps({"tags": {"sources": facts["sources"]}}, ensure_ascii=False),
        "profile": json.dumps({"pairs": facts["splits"][split]}),
        "context": {"train": "training", "validation": "validation"}.get(split, "test"),
    }
