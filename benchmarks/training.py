"""Measure the speed of training: run the stage for some time, and read its own reports.

The stage runs as `make train` runs it, so the figure has everything in it: batches, metrics, checkpoints, MLflow. Only
reports in which an epoch ended are left out, because they contain a validation.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.exit_status import PAUSED
from pipeline.plumbing.params import Params
from pipeline.plumbing.tracking.journal import JOURNAL, read_journal
from pipeline.plumbing.tracking.record import TRAINING as SCRATCH

from .experiment import TO_TRAIN

WARM_UP = 3  # reports that are not counted
SPEED, VALIDATED = "train/tokens_per_second", "dev/loss"
FOREVER: dict[str, Any] = {"train": {"epochs": 1000, "patience": 1000, "checkpoint_seconds": 600}}

Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class TrainingSpeed:
    """The speed of one variant of the network."""

    tokens_per_second: tuple[float, ...]  # target tokens, one value for each report of ten steps
    peak_memory: int  # bytes resident at most


def train(inputs: Path, output: Path, params: Params, changed: Settings, seconds: float, root: Path) -> TrainingSpeed:
    """Train from the artifacts in `inputs` for `seconds`, with changed settings, by the code in `root`."""
    shutil.rmtree(output, ignore_errors=True)
    limited = overlay(overlay(FOREVER, {"train": {"max_minutes": seconds / 60}}), changed)
    peak = _run(prepare(inputs, output, params, {**changed, **limited}, root), root, expected=PAUSED)
    speeds, is_new_epoch = [], False
    for entry in read_journal(output / SCRATCH / JOURNAL):
        if SPEED in entry.metrics:
            if not is_new_epoch:
                speeds.append(entry.metrics[SPEED])
            is_new_epoch = False
        is_new_epoch = is_new_epoch or VALIDATED in entry.metrics
    if len(speeds) <= WARM_UP:
        raise UserError(
            f"{output.name}: {len(speeds)} reports of 10 steps in {seconds:g} s (without an epoch's end) "
            "are too few; type a longer DURATION="
        )
    return TrainingSpeed(tuple(speeds[WARM_UP:]), peak)


def prepare(inputs: Path, output: Path, params: Params, changed: Settings, root: Path) -> list[str]:
    """Return the command that trains from the artifacts in `inputs` into `output`, with changed settings."""
    output.mkdir(parents=True)
    settings = output / "settings.yaml"
    changed_params = overlay(params.model_dump(mode="json", by_alias=True), changed)
    settings.write_text(yaml.safe_dump(changed_params), encoding="utf-8")
    _run([sys.executable, "-m", "stages.stamp", str(output / "stamps"), str(settings)], root, expected=0)
    manifests = [str(inputs / name / "manifest.json") for name in TO_TRAIN]
    return [sys.executable, "-m", "stages.train", str(output / "stamps/train.json"), *manifests, str(output / "model")]


def overlay(settings: Settings, changed: Settings) -> dict[str, Any]:
    """Return `settings` with the changed values, section by section."""
    return {section: {**values, **changed.get(section, {})} for section, values in settings.items()}


def _run(command: list[str], root: Path, expected: int) -> int:
    """Run a command in `root`. Return its highest resident memory in bytes. Raise UserError if it fails."""
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        output = process.stdout.read()
        peak = wait_for(process)
    if process.returncode != expected:
        raise UserError(f"{' '.join(command)} ended with status {process.returncode}:\n{output}")
    return peak


def wait_for(process: subprocess.Popen[str]) -> int:
    """Wait until a process ends. Return its highest resident memory in bytes."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
