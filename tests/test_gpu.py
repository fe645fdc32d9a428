"""Train by `make` on a GPU in bf16. tests/test_trainer.py and test_resume.py test single steps of one process there."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import small_project
from tests.project import kill_in


@pytest.mark.gpu
@pytest.mark.slow
def test_a_killed_training_ends_bit_identical(tmp_path: Path) -> None:
    project = replace(small_project(tmp_path), devices="0")
    project.edit("experiments/smoke.yaml", "train:\n", "train:\n  deterministic: true\n")
    undisturbed = project.make("train")
    assert undisturbed.returncode == 0, undisturbed.stderr
    shutil.move(project.build / "model", project.build / "undisturbed")
    kill_in(project, "train")
    resumed = project.make("train")
    assert resumed.returncode == 0, resumed.stderr
    assert "train: continuing after step" in resumed.stderr
    assert json.loads((project.build / "model/manifest.json").read_bytes())["facts"]["precision"] == "bf16"
    assert project.has_the_weights_of("undisturbed")
