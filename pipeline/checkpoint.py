"""Owns checkpoints: where they lie, that they are whole, and that they belong to this training."""

import shutil
from pathlib import Path
from typing import Any

import torch

from .artifacts import MANIFEST, Artifact, open_artifact, publish
from .errors import UserError

STATE = "state.pt"
KEPT = 2  # the newest, and the one before in case the newest is damaged


class Checkpoints:
    """The checkpoints of one training: a directory of artifacts named by step.

    They are of the training whose `stamp` and `inputs` they carry; those of another one are removed.
    """

    def __init__(self, directory: Path, inputs: dict[str, Artifact], stamp: dict[str, Any]) -> None:
        self.directory, self.inputs, self.stamp = directory, inputs, stamp

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Publish `state` (tensors, numbers, strings, and lists and dicts of them), then drop the oldest."""
        with publish(self.directory / f"{step:09d}", self.inputs, self.stamp) as draft:
            torch.save(state, draft.directory / STATE)
        for old in self._steps()[:-KEPT]:
            shutil.rmtree(old)

    def latest(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole and of this training; None if there is none."""
        for directory in reversed(self._steps()):
            try:
                artifact = open_artifact(directory, "train")
            except UserError:
                continue  # damaged: the one before
            if artifact.stamp == self.stamp and artifact.inputs == {n: a.digest for n, a in self.inputs.items()}:
                state: dict[str, Any] = torch.load(artifact.path(STATE), map_location="cpu", weights_only=True)
                return state
        return None

    def clear(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _steps(self) -> list[Path]:
        return sorted(path.parent for path in self.directory.glob(f"*/{MANIFEST}") if path.parent.name.isdigit())
