"""Make runs the stages whose settings, code or inputs changed, and no others. `make -n` shows the same stages."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.plumbing.artifacts import read_json
from pipeline.plumbing.stamps import SECTIONS
from pipeline.plumbing.tracking.local_store import local_uri
from tests.project import DIRECTORIES, NOTHING, Finished, Project, stages_in


def test_the_whole_pipeline_ends_with_a_summary(finished: Finished) -> None:
    log = finished.log
    assert len(re.findall(r"^  source .*\n  reference .*\n  hypothesis ", log, re.MULTILINE)) == 5
    assert re.search(r"^  this model, beam +\d+\.\d +\d+\.\d$", log, re.MULTILINE)
    assert re.search(r"^  translation memory +\d+\.\d +\d+\.\d$", log, re.MULTILINE)
    assert re.search(r"^bleu: nrefs:1\|.*\|version:", log, re.MULTILINE)
    assert "Registered as smoke version 1. Next:" in log
    assert "make translate EXP=smoke TEXT=" in log
    assert finished.make("summary").stdout in log


def test_a_second_make_only_checks_whether_files_have_changed(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    assert project.make("-q").returncode == 0
    assert project.told_stale() == []
    time.sleep(2.1)  # what was written a moment ago may be written again within a tick of its file system's clock
    project.make("-q")  # a copied corpus is looked at closely
    binaries, log = project.root / ".venv/bin", tmp_path / "started"
    python = binaries.resolve() / "python"
    binaries.unlink()
    binaries.mkdir()
    (binaries / "python").write_text(f'#!/bin/sh\necho "$@" >>"{log}"\nexec "{python}" "$@"\n', encoding="utf-8")
    (binaries / "python").chmod(0o755)
    again = project.make()
    assert (again.returncode, again.stdout) == (0, NOTHING)
    assert log.read_text(encoding="utf-8") == "-I -S pipeline/plumbing/watch.py build/smoke/stamps/files.json\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2", "train evaluate register"),
        ("experiments/smoke.yaml", "hidden_size: 64", "hidden_size: 32", "train evaluate register"),
        (
            "experiments/smoke.yaml",
            "vocabulary_size: 640",
            "vocabulary_size: 630",
            "tokenizer encode train evaluate register",
        ),
        ("experiments/smoke.yaml", "model: #", "encode:\n  max_tokens: 99\nmodel: #", "encode train evaluate register"),
        ("stages/evaluate.py", "def ", "NEW = 1\n\n\ndef ", "evaluate register"),
        ("stages/train.py", "\nfrom ", "\n# why\nfrom ", ""),
        ("pipeline/seq2seq/model.py", '"""', '"""Once more: ', ""),
        ("pipeline/training/optimization.py", "out of memory with", "memory ran out with", ""),
        ("pipeline/training/trainer.py", "a checkpoint is saved", "there is a checkpoint", ""),
        ("pipeline/training/optimization.py", "skipped step", "left out step", ""),
        ("stages/train.py", "continuing after step", "it continues after step", ""),
        ("stages/evaluate.py", "sentences, BLEU", "lines, BLEU", ""),
        ("pipeline/data/sources/hub.py", "is used as", "becomes", ""),
        (
            "pipeline/data/sources/hub.py",
            "if meant and",
            "if meant or",
            "download tokenizer encode train evaluate register",
        ),
        ("pipeline/training/trainer.py", "REPORT_EVERY = 10", "REPORT_EVERY = 11", "train evaluate register"),
        ("pipeline/plumbing/params.py", "\nclass ", "\nUNUSED = 1\n\n\nclass ", ""),
        ("pipeline/plumbing/progress.py", "\nclass ", "\nUNUSED = 1\n\n\nclass ", ""),
        ("pipeline/plumbing/tracking/replica.py", "\nclass ", "\nUNUSED = 1\n\n\nclass ", ""),
    ],
)
def test_an_edit_reruns_what_depends_on_it(
    finished: Finished, tmp_path: Path, file: str, old: str, new: str, stale: str
) -> None:
    project = finished.copy_to(tmp_path)
    project.edit(file, old, new)
    assert project.planned() == stale.split()
    assert project.make("-q").returncode == (1 if stale else 0)
    assert project.told_stale() == stale.split()
    assert project.planned() == stale.split()


def test_a_changed_setting_that_is_restored_reruns_nothing(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "epochs: ", "epochs: 1")
    assert project.planned() == ["train", "evaluate", "register"]
    project.edit("experiments/smoke.yaml", "epochs: 1", "epochs: ")
    assert project.make().stdout == NOTHING


def test_make_knows_every_file_of_a_chain_of_experiments(finished: Finished, tmp_path: Path) -> None:
    """smoke is the same settings over two files more: nothing is stale, until one of these files is another one."""
    project = finished.copy_to(tmp_path)
    experiments = project.root / "experiments"
    os.rename(experiments / "smoke.yaml", experiments / "base.yaml")
    (experiments / "middle.yaml").write_text("extends: base\n", encoding="utf-8")
    (experiments / "smoke.yaml").write_text("extends: middle\n", encoding="utf-8")
    assert project.planned() == project.told_stale() == []

    project.edit("experiments/base.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2")
    assert project.planned() == project.told_stale() == ["train", "evaluate", "register"]
    project.edit("experiments/middle.yaml", "base\n", "base\ntrain: {learning_rate: 1.0e-2}\n")
    assert project.make("-q").returncode == 0
    assert project.told_stale() == []

    (experiments / "base.yaml").unlink()
    run = project.make("-n")
    assert run.returncode == 2
    assert "error: experiments/middle.yaml: extends: experiments/base.yaml is missing; " in run.stderr


def test_touch_reruns_nothing(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.age()
    for path in [*project.root.glob("*.*"), *project.root.glob("pipeline/**/*.py"), *project.root.glob("stages/*.py")]:
        if path.name != "requirements.lock":
            path.touch()
    assert project.make().stdout == NOTHING


def test_a_removed_artifact_and_all_later_ones_are_made_again(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    os.rename(project.build / "encoded", project.build / "gone")
    assert project.planned() == project.told_stale() == ["encode", "train", "evaluate", "register"]
    assert project.planned("tokenizer") == []


@pytest.mark.parametrize("stage", ["download", "tokenizer", "encode", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_a_stage_that_gives_the_same_output_reruns_no_later_stage(
    finished: Finished, tmp_path: Path, stage: str
) -> None:
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.manifest(stage).parent)
    run = project.make(stage)
    assert run.returncode == 0, run.stderr
    assert project.planned() == project.told_stale() == []
    assert project.make().stdout == NOTHING


@pytest.mark.slow
def test_a_stage_whose_inputs_have_the_same_content_does_not_run(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.age()
    for stage in ("download", "encode"):
        project.manifest(stage).touch()
    assert project.told_stale() == []
    weights = (project.build / "model/weights.safetensors").stat()
    run = project.make()
    assert run.returncode == 0, run.stderr
    kept = [f"build/smoke/{DIRECTORIES[stage]} is kept: " for stage in list(SECTIONS)[1:-1]]  # register asks MLflow
    assert [line for line in run.stdout.splitlines() if line.startswith(tuple(kept))] == [
        line + "it was made of the same settings, code and inputs" for line in kept
    ]
    assert (project.build / "model/weights.safetensors").stat() == weights
    assert project.make().stdout == NOTHING


def test_a_stage_whose_output_is_damaged_runs_again(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.age()
    project.manifest("download").touch()
    (project.build / "tokenizer/joint.model").write_bytes(b"")
    assert project.told_stale()[0] == "tokenizer"
    run = project.make("tokenizer")
    assert run.returncode == 0, run.stderr
    assert "is kept" not in run.stdout
    assert project.told_stale() == []


def test_in_a_fresh_clone_a_dry_run_shows_all_stages_and_makes_nothing(project: Project) -> None:
    assert project.planned() == list(SECTIONS)
    assert project.make("-q").returncode == 1
    (project.root / ".venv/.installed").unlink()
    before = sorted(project.root.rglob("*"))
    dry = project.make("-n").stdout
    assert dry.index("stages/install.py") < dry.index("-m stages.download")
    assert stages_in(dry) == list(SECTIONS)
    assert sorted(project.root.rglob("*")) == before


@pytest.mark.slow
def test_a_changed_learning_rate_trains_evaluates_and_registers_again(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2")
    run = project.make()
    assert run.returncode == 0, run.stderr
    assert stages_in(run.stdout) == ["train", "evaluate", "register"]
    assert project.make().stdout == NOTHING
    assert project.told_stale() == []


@pytest.mark.slow
def test_two_processes_reach_the_same_loss_as_one(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    os.rename(project.build / "model", project.build / "of_one")
    run = project.make("train", "NPROC=2")
    assert run.returncode == 0, run.stderr
    one, two = (json.loads((project.build / name / "manifest.json").read_bytes()) for name in ("of_one", "model"))
    assert one["stamp"] == two["stamp"]
    assert two["facts"]["validation_loss"] == pytest.approx(one["facts"]["validation_loss"], abs=5e-4)
    assert project.planned("train") == []


@pytest.mark.slow
def test_make_register_registers_again_what_was_deleted(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    before = read_json(project.manifest("register"))["facts"]
    assert project.make("-q").returncode == 0
    for made_anew in (False, True):
        client = MlflowClient(local_uri(project.root / "build"))
        if made_anew:
            client.delete_registered_model("smoke")
        run = project.make("register")
        assert run.returncode == 0, run.stdout + run.stderr
        assert "registered smoke version 1 in sqlite" in run.stdout
        after = read_json(project.manifest("register"))["facts"]
        assert after == before
        assert len(client.search_model_versions("name = 'smoke'")) == 1
