"""Owns checkpoints: where they lie, that they are whole, and that they belong to this training."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ..plumbing.artifacts import MANIFEST, Artifact, open_artifact, publish
from ..plumbing.errors import UserError
from ..plumbing.facts import Facts

STATE = "state.pt"
KEPT = 2  # the newest, and the one before in case the newest is damaged


class CheckpointFacts(Facts):
    journal_bytes: int  # length of the journal when the checkpoint was saved


class Checkpoints:
    """The checkpoints of one training: a directory of artifacts named by step.

    They are of the training whose `stamp` and `inputs` they carry; those of another one are not used. Each is of a time
    at which `journal` had a certain length: without that much of it, metrics would be missing, and it is not used.
    """

    def __init__(self, directory: Path, inputs: dict[str, Artifact], stamp: dict[str, Any], journal: Path) -> None:
        self.directory, self.inputs, self.stamp, self.journal = directory, inputs, stamp, journal

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Publish `state` (tensors, numbers, strings, and lists and dicts of them), then drop the oldest."""
        with publish(self.directory / f"{step:09d}", self.inputs, self.stamp) as draft:
            draft.facts = CheckpointFacts(journal_bytes=_synced_length(self.journal))
            buffer = io.BytesIO()  # torch would hide the reason for which a file cannot be written
            torch.save(state, buffer)
            (draft.directory / STATE).write_bytes(buffer.getbuffer())
        for old in self._steps()[:-KEPT]:
            shutil.rmtree(old)

    def latest(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole and of this training; None if there is none."""
        inputs = {name: artifact.digest for name, artifact in self.inputs.items()}
        for directory in reversed(self._steps()):
            try:
                artifact = open_artifact(directory, "train")
            except UserError:
                continue  # damaged: the one before
            is_ours = artifact.stamp == self.stamp and artifact.inputs == inputs
            if is_ours and _length(self.journal) >= CheckpointFacts.of(artifact).journal_bytes:
                state: dict[str, Any] = torch.load(artifact.path(STATE), map_location="cpu", weights_only=True)
                return state
        return None

    def _steps(self) -> list[Path]:
        return sorted(path.parent for path in self.directory.glob(f"*/{MANIFEST}") if path.parent.name.isdigit())


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _synced_length(path: Path) -> int:
    """Bytes of a file that are on the disk, not only on their way there."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size
