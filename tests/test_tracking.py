"""The record of a training on disk, and its copy in real SQLite stores of MLflow."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.artifacts import Artifact
from pipeline.plumbing.errors import Paused
from pipeline.plumbing.tracking.record import DatasetRecord, flatten, read_record, unsent
from pipeline.plumbing.tracking.replica import DeletedRun, replicate
from pipeline.plumbing.tracking.run import open_run
from pipeline.plumbing.tracking.store import open_store
from stages.train import dataset_records
from tests.mlflow_server import unused_port
from tests.stores import history, journalled, store, stored

SETTINGS = {"train": {"learning_rate": 1e-3, "tags": ["a", "ü"], "none": None}, "model": {"cell": "gru"}}
DATASETS = [DatasetRecord("en to de, train", "0123456789abcdef" * 4, "code", "{}", '{"pairs": 9}', "training")]
KILLED_TRAINING = """
import sys, time
from pathlib import Path
from pipeline.plumbing.tracking.run import open_run
build, scratch = map(Path, sys.argv[1:])
with open_run(build, "default", scratch, "first", settings={}, datasets=[]) as run:
    for step in range(100):
        run.log({"train/loss": 1.0 / (step + 1)}, step)
    time.sleep(60)
"""


@pytest.fixture
def scratch(build: Path) -> Path:
    return build / "default/model.training"


def train(scratch: Path, steps: Any = range(30), training: str = "first") -> str:
    """Run a short training and return its attempt."""
    with open_run(scratch.parents[1], "default", scratch, training, settings=SETTINGS, datasets=DATASETS) as run:
        for step in steps:
            run.log({"train/loss": 1.0 / (step + 1)}, step)
    return run.attempt


def test_a_run_has_settings_data_sets_commit_and_times_and_ends_finished(scratch: Path) -> None:
    run = stored(train(scratch))
    record = read_record(scratch)
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", record.started, record.ended)
    assert run.data.params == flatten(SETTINGS)
    assert history(run) == journalled(scratch)
    assert run.inputs
    data = {d.dataset.name: (d.dataset.digest, d.tags[0].value) for d in run.inputs.dataset_inputs}
    assert data == {"en to de, train": ("0123456789abcdef" * 2 + "0123", "training")}
    home = str(Path.home())
    assert not [tag for tag in run.data.tags.values() if home in tag or socket.gethostname() in tag]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (Paused, "KILLED")]
)
def test_a_training_that_ends_early_has_a_status_and_continues_in_its_run(
    scratch: Path, error: type[BaseException], status: str
) -> None:
    def steps() -> Any:
        yield 1
        raise error

    pytest.raises(error, train, scratch, steps())
    attempt = read_record(scratch).attempt
    assert stored(attempt).info.status == read_record(scratch).status == status
    assert train(scratch, range(1, 4)) == attempt
    run = stored(attempt)
    assert run.info.status == "FINISHED"
    assert history(run) == journalled(scratch)
    assert [step for step, _, _ in history(run)["train/loss"]] == [1, 2, 3]


def test_a_killed_training_continues_in_its_run_without_duplicate_metrics(build: Path, scratch: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED_TRAINING, build, scratch]) as process:
        wait_for(lambda: "train/loss" in stored(read_record(scratch).attempt).data.metrics)
        process.kill()
    before = stored(read_record(scratch).attempt)
    assert before.info.status == "RUNNING"
    attempt = train(scratch, range(80, 120))  # from a checkpoint at step 80
    after = stored(attempt)
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert history(after) == journalled(scratch)
    assert [step for step, _, _ in history(after)["train/loss"]] == list(range(120))


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(Exception):  # nothing is there yet
            if condition():
                return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def test_a_training_that_another_replaces_ends_killed_with_all_its_metrics(
    build: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused_port()}")
        attempts = [train(scratch, range(20))]
        first = journalled(scratch)
        replace(read_record(scratch), status="RUNNING", ended=None).write(scratch)  # as after a kill
        attempts.append(train(scratch, range(5), training="second"))
        assert [path.name for path in unsent(build / "default")] == [attempts[0]]
        # The third replaces the model of the second.
        shutil.copytree(scratch, build / "default/model")
        shutil.rmtree(scratch)
        attempts.append(train(scratch, range(7), training="third"))
        assert sorted(path.name for path in unsent(build / "default")) == sorted(attempts[:2])
    train(scratch, range(7), training="third")
    assert not unsent(build / "default")
    runs = [stored(attempt) for attempt in attempts]
    assert [run.info.status for run in runs] == ["KILLED", "FINISHED", "FINISHED"]
    assert [history(run) for run in runs] == [first, journalled(build / "default/model"), journalled(scratch)]
    assert runs[0].info.end_time == first["train/loss"][-1][2]


def test_a_store_that_is_unusable_at_the_start_receives_everything_later(
    build: Path, scratch: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{build}/later/mlflow.db")
    (build / "later").touch()  # a file, so no store can be made there
    monkeypatch.setattr("pipeline.plumbing.tracking.run.SEND_SECONDS", 0.1)

    def steps() -> Any:
        yield from range(10)
        wait_for(lambda: caplog.records)
        (build / "later").unlink()
        (build / "later").mkdir()
        shutil.copyfile(empty_store, build / "later/mlflow.db")
        wait_for(lambda: len(caplog.records) > 1)
        yield from range(10, 20)

    run = stored(train(scratch, steps()))
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "MLflow cannot be reached",
        "MLflow can be reached again and has all of the record so far",
    ]
    assert (run.info.status, run.info.start_time) == ("FINISHED", read_record(scratch).started)
    assert history(run) == journalled(scratch)


def test_a_server_that_never_answers_costs_no_time_and_receives_everything_later(
    build: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{unused_port()}")
        attempt = train(scratch)
    assert time.monotonic() - start < 3
    assert "secret" not in caplog.text
    assert caplog.messages[-1] == "MLflow does not have all of this training yet; to send the rest, run: make sync"
    for _ in range(2):  # the second time adds nothing
        replicate(open_store(build), build, scratch)
        run = stored(attempt)
        assert (run.info.status, run.info.end_time) == ("FINISHED", read_record(scratch).ended)
        assert history(run) == journalled(scratch)


def test_of_two_runs_of_the_same_training_one_is_deleted(build: Path, scratch: Path) -> None:
    attempt = train(scratch)
    client, before = store(), stored(attempt)
    for _ in range(
        5
    ):  # such runs come from requests that a slow server executes after their timeout; their ids are random
        client.create_run(before.info.experiment_id, before.info.start_time, {"attempt": attempt})
    replicate(client, build, scratch)
    assert stored(attempt).info.run_id == before.info.run_id


def test_a_run_that_was_deleted_in_mlflow_does_not_come_back(build: Path, scratch: Path) -> None:
    run_id = stored(train(scratch)).info.run_id
    store().delete_run(run_id)
    with pytest.raises(DeletedRun, match=f"mlflow runs restore --run-id {run_id}"):
        replicate(store(), build, scratch)
    train(scratch, training="second")
    assert not unsent(build / "default")


def test_long_settings_and_many_metrics_are_accepted(build: Path, scratch: Path) -> None:
    settings = {"download": {f"key_{n}": "x" * 7000 if n == 7 else n for n in range(120)}}
    with open_run(build, "default", scratch, training="first", settings=settings, datasets=[]) as run:
        for step in range(700):
            run.log({f"metric/{n}": float(step) for n in range(3)}, step)
    found = stored(run.attempt)
    assert (len(found.data.params), len(found.data.params["download.key_7"])) == (120, 6000)
    assert history(found) == journalled(scratch)


def test_each_split_of_the_corpus_is_a_data_set_of_the_run(corpus: Artifact) -> None:
    found = {dataset.name: dataset for dataset in dataset_records(corpus)}
    contexts = {name: dataset.context for name, dataset in found.items()}
    assert contexts == {"en to de, train": "training", "en to de, validation": "validation", "en to de, test": "test"}
    train = found["en to de, train"]
    assert train.digest == corpus.files["train.parquet"]["sha256"]
    assert json.loads(train.profile) == {"pairs": 40}
    (source, *_) = json.loads(train.source)["tags"]["sources"]
    assert source == {"name": "catalogue-0", "version": "1.0", "licence": "MIT", "sha256": "0" * 64, "pairs": 30}


def test_tracking_imports_no_torch() -> None:
    script = (
        "import sys; import pipeline.plumbing.tracking.run, pipeline.registry.registration; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_settings_that_are_not_text_are_flattened_as_json() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": "x"}, "e": [1, "ü"], "f": None, "g": True}) == {
        "a.b.c": "1",
        "a.d": "x",
        "e": json.dumps([1, "ü"], ensure_ascii=False),
        "f": "null",
        "g": "true",
    }
