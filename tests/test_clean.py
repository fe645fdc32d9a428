"""`make clean`: its question before it removes anything, and its message about what is kept."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.experiments.unfinished import unfinished_work
from pipeline.plumbing.lock import hold
from pipeline.plumbing.tracking.record import RECORD, Record
from tests.experiments import publish_evaluated
from tests.project import ROOT, Finished, Project, kill_in


def begin_training(home: Path, *steps: int) -> None:
    """A training in `home` with checkpoints of these steps."""
    for step in steps:
        checkpoint = home / f"model.training/checkpoints/{step:09d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "manifest.json").write_text("{}", encoding="utf-8")


def clean(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "FORCE": "", **environment}
    command = [sys.executable, "-m", "stages.clean", str(home)]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def answer(home: Path, typed: bytes) -> tuple[int, str]:
    """Return status and output of a run on a terminal on which this is typed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "stages.clean", str(home)]
    os.write(ours, typed)
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "FORCE": ""}, stdin=theirs, capture_output=True, text=True
    )
    os.close(ours)
    os.close(theirs)
    return run.returncode, run.stdout + run.stderr


def test_finished_outputs_are_removed_and_what_stays_is_told(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        publish_evaluated(tmp_path, name)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/file").write_bytes(b"x" * 2000)
    run = clean(tmp_path / "mine")
    assert (run.returncode, run.stderr) == (0, "")
    assert "removed" in run.stdout
    assert "(corpus, encoded, evaluation, model, tokenizer)" in run.stdout
    assert "MLflow's runs and registered versions (make versions EXP=mine)" in run.stdout
    assert f"{tmp_path}/hub (2.0 kB)" in run.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "other"]


def test_without_outputs_there_is_nothing_to_remove(tmp_path: Path) -> None:
    run = clean(tmp_path / "mine")
    assert (run.returncode, run.stdout) == (0, f"nothing to remove: there is no {tmp_path}/mine\n")


def test_an_unfinished_training_is_kept_without_a_terminal_unless_forced(tmp_path: Path) -> None:
    begin_training(tmp_path / "mine", 20, 1000)
    run = clean(tmp_path / "mine")
    assert run.returncode == 2
    assert "its last checkpoint is of step 1,000, saved 20" in run.stdout
    assert run.stderr == (
        f"error: {tmp_path}/mine has work in progress, and nothing was removed; make clean FORCE=1 EXP=mine removes it "
        "with all\n"
    )
    assert (tmp_path / "mine/model.training/checkpoints/000001000/manifest.json").exists()
    assert clean(tmp_path / "mine", FORCE="yes").returncode == 2
    assert clean(tmp_path / "mine", FORCE="1").returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("typed", "removed"), [(b"yes\n", True), (b"no\n", False), (b"\n", False), (b"\x04", False)])
def test_on_a_terminal_it_asks(tmp_path: Path, typed: bytes, removed: bool) -> None:
    begin_training(tmp_path / "mine", 20)
    status, output = answer(tmp_path / "mine", typed)
    assert f"Remove {tmp_path}/mine with it? Type yes:" in output
    assert (status, (tmp_path / "mine").exists()) == ((0, False) if removed else (2, True))
    assert "Traceback" not in output


def test_metrics_that_mlflow_does_not_have_are_work_in_progress(tmp_path: Path) -> None:
    record = Record("a", "t", "mine", 1, None, {}, [])
    (tmp_path / "mine/unsent/a").mkdir(parents=True)
    record.write(tmp_path / "mine/unsent/a")
    assert (tmp_path / "mine/unsent/a" / RECORD).exists()
    assert unfinished_work(tmp_path / "mine") == [
        "metrics of 1 earlier trainings that MLflow does not have yet (make sync sends them)"
    ]


def test_a_training_without_a_whole_checkpoint_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    (tmp_path / "mine/model.training/checkpoints/000000020.tmp").mkdir(parents=True)
    (tmp_path / "mine/model.training/checkpoints/000000020.tmp/manifest.json").touch()
    assert unfinished_work(tmp_path / "mine") == []


def test_what_a_process_works_on_is_not_removed_whatever_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = publish_evaluated(tmp_path, "mine")
    with hold(home, "train"):
        run = clean(home, FORCE="1")
    assert run.returncode == 2
    assert f"{home} is in use by train, process {os.getpid()}" in run.stderr
    assert (home / "model/manifest.json").exists()


def test_what_a_killed_clean_leaves_is_no_experiment(tmp_path: Path) -> None:
    home = publish_evaluated(tmp_path, "mine")
    shutil.move(home, tmp_path / ".mine.removed")
    publish_evaluated(tmp_path, "mine")
    assert clean(home).returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_training_survives_make_clean_and_goes_on(finished: Finished, tmp_path: Path) -> None:
    project: Project = finished.copy_to(tmp_path)
    shutil.rmtree(project.build / "model")
    kill_in(project, "train")
    run = project.make("clean")
    assert run.returncode == 2
    assert "make clean FORCE=1 EXP=smoke removes it with all" in run.stderr
    assert "continuing after step" in project.make("train").stderr
    assert project.make("clean").returncode == 0
    assert not project.build.exists()
