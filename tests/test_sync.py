"""make sync: what MLflow missed of every training under build/, told at any time and as often as one likes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.tracking.record import read_record
from pipeline.plumbing.tracking.run import open_run
from stages.sync import sync
from tests.mlflow_server import unused_port
from tests.stores import history, journalled, store, stored

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def build(build: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The build directory of the working directory."""
    monkeypatch.chdir(build.parent)
    return build


def train(scratch: Path, steps: int = 30, training: str = "first") -> str:
    home = scratch.parent
    with open_run(home.parent, home.name, scratch, training, settings={"seed": 1}, datasets=[]) as run:
        for step in range(steps):
            run.log({"train/loss": 1.0 / (step + 1)}, step)
    return run.attempt


def kill(scratch: Path) -> None:
    """Make the record what a killed process leaves."""
    replace(read_record(scratch), status="RUNNING", ended=None).write(scratch)


def test_sync_sends_what_mlflow_misses_and_adds_nothing_the_second_time(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = build / "default"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused_port()}")
        taken = train(home / "model.training", 10, "first")
        kill(home / "model.training")
        killed = train(home / "model.training", 20, "second")
        kill(home / "model.training")
        published = train(build / "other/model", 40)
    expected = [journalled(home / "unsent" / taken), *map(journalled, (home / "model.training", build / "other/model"))]
    for attempt in (1, 2):
        sync()
        runs = [stored(taken), stored(killed), stored(published, "other")]
        assert [history(run) for run in runs] == expected
        assert [run.info.status for run in runs] == ["KILLED", "KILLED", "FINISHED"]
        assert [run.info.end_time for run in runs[:2]] == [e["train/loss"][-1][2] for e in expected[:2]]
        lines = [
            f"build/default/unsent/{taken}: run {runs[0].info.run_id}, 10 metrics, KILLED",
            f"build/default/model.training: run {runs[1].info.run_id}, 20 metrics, KILLED",
            f"build/other/model: run {runs[2].info.run_id}, 40 metrics, FINISHED",
        ]
        assert capsys.readouterr().out.splitlines() == lines[attempt - 1 :]  # what lost its place is gone once sent


def test_metrics_that_mlflow_refuses_while_it_stores_them_are_sent_again(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = build / "default/model"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused_port()}")
        attempt = train(scratch, 20)
    sent, log_batch = [], MlflowClient.log_batch

    def refuse_once(client: MlflowClient, run_id: str, metrics: Sequence[Metric] = (), **others: Any) -> None:
        sent.extend([True] * bool(metrics))
        if sent == [True]:
            raise MlflowException("UNIQUE constraint failed: metrics.key", BAD_REQUEST)
        log_batch(client, run_id, metrics=metrics, **others)

    monkeypatch.setattr(MlflowClient, "log_batch", refuse_once)
    sync()
    assert sent == [True, True]
    assert history(stored(attempt)) == journalled(scratch)


def test_a_run_marked_as_killed_can_continue_and_finish(build: Path) -> None:
    scratch = build / "default/model.training"
    attempt = train(scratch)
    kill(scratch)
    sync()
    assert stored(attempt).info.status == read_record(scratch).status == "KILLED"
    assert train(scratch, 50) == attempt
    run = stored(attempt)
    assert (run.info.status, run.info.end_time) == ("FINISHED", read_record(scratch).ended)
    assert history(run) == journalled(scratch)


def test_a_running_training_is_skipped(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scratch = build / "default/model.training"
    train(scratch)
    kill(scratch)
    with FileLock(build / "default/lock"):
        sync()
    assert capsys.readouterr().out.startswith("build/default/model.training: skipped, because it is in use by ")
    assert read_record(scratch).status == "RUNNING"


def test_one_run_that_cannot_be_sent_does_not_stop_the_others(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deleted, whole = train(build / "a/model"), train(build / "b/model")
    store().delete_run(stored(deleted, "a").info.run_id)
    with pytest.raises(SystemExit) as caught:
        fail_clearly(sync)
    assert caught.value.code == 2
    told = capsys.readouterr()
    assert "build/a/model: MLflow's run" in told.err
    assert told.out.startswith(f"build/b/model: run {stored(whole, 'b').info.run_id}")


def test_an_unreachable_server_is_named_in_one_line(build: Path) -> None:
    train(build / "default/model.training")
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"http://me:secret@127.0.0.1:{unused_port()}"}
    environment["PYTHONPATH"] = str(PROJECT)
    run = subprocess.run(
        [sys.executable, "-m", "stages.sync"], env=environment, check=False, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: MLflow's store http://127.0.0.1:")
    assert len(run.stderr.splitlines()) == 1


def test_without_records_mlflow_is_not_contacted(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sync()
    assert capsys.readouterr().out == "there is no record of a training in build\n"
