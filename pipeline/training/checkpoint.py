"""Save a training to disk, and find the newest checkpoint to resume from."""

import io
import math
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..plumbing.artifacts import MANIFEST, Artifact, open_artifact, publish
from ..plumbing.errors import UserError
from ..plumbing.facts import Facts

STATE = "state.pt"
KEPT = 2  # checkpoints that are kept: the newest, and the previous one in case the newest is damaged


@dataclass
class Position:
    """How far a training has come.

    A checkpoint holds this, the weights, their moving average and the optimiser's state. It holds no random state,
    because every micro-batch gets its own seed (see `Optimizer._loss`).
    """

    epoch: int = 0  # finished epochs
    index: int = 0  # of the next step in the epoch's plan
    step: int = 0  # finished steps, over all epochs
    best_epoch: int = 0  # counted from 1
    best_loss: float = math.inf  # validation loss of the best epoch
    best_bleu: float = -1.0
    tokens: int = 0  # target tokens learned from
    skipped: int = 0  # steps skipped because their loss or gradient was not finite
    seconds: float = 0.0  # of training, without interruptions
    processes: int = 0  # the number of processes that saved the checkpoint; another number may resume from it

    def is_best(self, bleu: float, loss: float) -> bool:
        """Return whether these scores are better than the best so far.

        BLEU decides. Between equal BLEU scores, such as 0 in the first epochs, the lower loss decides.
        """
        return (bleu, -loss) > (self.best_bleu, -self.best_loss)


class CheckpointFacts(Facts):
    journal_bytes: int  # length of the journal when the checkpoint was saved


class Checkpoints:
    """The checkpoints of one training: a directory of artifacts, each named by its step.

    A checkpoint belongs to the training with the same `stamp` (settings and code) and `inputs`. Checkpoints of other
    trainings are ignored. A checkpoint also records the length of `journal`, the log of metrics. If the journal has
    become shorter since then, metrics were lost, and the checkpoint is ignored too.

    A thread writes a checkpoint while training goes on.
    """

    def __init__(self, directory: Path, inputs: dict[str, Artifact], stamp: dict[str, Any], journal: Path) -> None:
        self.directory, self.inputs, self.stamp, self.journal = directory, inputs, stamp, journal
        self._writer, self._writing = ThreadPoolExecutor(1, "checkpoint"), Future[None]()
        self._writing.set_result(None)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Begin to publish `state` (tensors, numbers, strings, and lists and dicts of them), as it is now.

        First wait until the previous checkpoint is on the disk, and raise its error if it could not be written.
        """
        self.wait()
        copy = io.BytesIO()  # torch.save to a path would also hide the reason why the file cannot be written
        torch.save(state, copy)
        self._writing = self._writer.submit(self._publish, step, copy, _synced_length(self.journal))

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk. Raise the error if it could not be written."""
        self._writing.result()

    def check(self) -> None:
        """Raise the error if the last checkpoint could not be written. Do not wait for it."""
        if self._writing.done():
            self._writing.result()

    def finish(self) -> None:
        """Wait until no file is being written, after another error too."""
        self._writing.exception()

    def _publish(self, step: int, state: io.BytesIO, journal_bytes: int) -> None:
        """Publish a checkpoint, then delete old ones."""
        with publish(self.directory / f"{step:09d}", self.inputs, self.stamp) as draft:
            draft.facts = CheckpointFacts(journal_bytes=journal_bytes)
            (draft.directory / STATE).write_bytes(state.getbuffer())
        for old in self._saved()[:-KEPT]:
            shutil.rmtree(old)

    def latest(self) -> dict[str, Any] | None:
        """Return the state of the newest intact checkpoint of this training; None if there is none."""
        inputs = {name: artifact.digest for name, artifact in self.inputs.items()}
        for directory in reversed(self._saved()):
            try:
                artifact = open_artifact(directory, "train")
            except UserError:
                continue  # it is damaged: try the previous one
            is_ours = artifact.stamp == self.stamp and artifact.inputs == inputs
            if is_ours and _length(self.journal) >= CheckpointFacts.of(artifact).journal_bytes:
                state: dict[str, Any] = torch.load(artifact.path(STATE), map_location="cpu", weights_only=True)
                return state
        return None

    def _saved(self) -> list[Path]:
        """Return the directories of the checkpoints, oldest first."""
        return sorted(path.parent for path in self.directory.glob(f"*/{MANIFEST}") if path.parent.name.isdigit())


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _synced_length(path: Path) -> int:
    """Write a file's buffered bytes to the disk, and return its length."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size
