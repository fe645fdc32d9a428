"""The run of a training against real stores: SQLite files, and a server over HTTP that is killed on the way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun

from pipeline.artifacts import Artifact
from pipeline.errors import UserError
from pipeline.journal import JOURNAL, Journal, read_journal
from pipeline.store import experiment_id, open_store, without_password
from pipeline.tracking import flatten, open_run
from tests.mlflow_server import Server, unused_port
from tests.published import publish_corpus

SETTINGS = {"train": {"learning_rate": 1e-3, "tags": ["a", "ü"], "none": None}, "model": {"cell": "gru"}}
KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
from pipeline.artifacts import open_artifact
from pipeline.tracking import open_run
build, scratch = Path(sys.argv[1]), Path(sys.argv[2])
corpus = open_artifact(scratch / "corpus", "download")
with open_run(build, "default", scratch, training="first", settings={}, corpus=corpus) as run:
    for step in range(100):
        run.log({"train/loss": 1.0 / (step + 1)}, step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables and nothing in it; making one takes seconds, copying it does not."""
    directory = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{directory}/mlflow.db")
        open_store(directory)
    return directory / "mlflow.db"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_corpus(tmp_path_factory.mktemp("default") / "corpus")


@pytest.fixture
def build(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "default" / "training"


def stored(run_id: str) -> StoredRun:
    return MlflowClient().get_run(run_id)


def history(run_id: str, metric: str) -> list[tuple[int, float, int]]:
    """(step, value, time) of all that MLflow has of a metric."""
    return sorted((m.step, m.value, m.timestamp) for m in MlflowClient().get_metric_history(run_id, metric))


def test_a_run_says_settings_data_and_commit_and_ends_finished(build: Path, scratch: Path, corpus: Artifact) -> None:
    with open_run(build, "default", scratch, training="first", settings=SETTINGS, corpus=corpus) as run:
        assert stored(run.run_id).info.status == "RUNNING"
        run.log({"train/loss": 2.5}, 1)
    found = stored(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == flatten(SETTINGS)
    assert found.data.tags["training"] == "first"
    assert found.inputs
    data = {d.dataset.name: (d.dataset.digest, d.tags[0].value) for d in found.inputs.dataset_inputs}
    assert data["en-de train"] == (corpus.files["train.parquet"]["sha256"][:36], "training")
    assert [data[f"en-de {split}"][1] for split in ("validation", "test")] == ["validation", "test"]
    home = str(Path.home())
    assert not [tag for tag in found.data.tags.values() if home in tag or socket.gethostname() in tag]


def test_metrics_keep_the_time_at_which_they_were_measured(build: Path, scratch: Path, corpus: Artifact) -> None:
    with open_run(build, "default", scratch, training="first", settings=SETTINGS, corpus=corpus) as run:
        for step in range(3):
            run.log({"train/loss": float(step)}, step)
    entries = list(read_journal(scratch / JOURNAL))
    assert history(run.run_id, "train/loss") == [(e.step, e.metrics["train/loss"], e.time) for e in entries]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_training_that_ends_early_says_how(
    build: Path, scratch: Path, corpus: Artifact, error: type[BaseException], status: str
) -> None:
    runs = []

    def train() -> None:
        with open_run(build, "default", scratch, training="first", settings=SETTINGS, corpus=corpus) as run:
            runs.append(run.run_id)
            run.log({"train/loss": 1.0}, 1)
            raise error

    pytest.raises(error, train)
    assert stored(runs[0]).info.status == status
    assert len(history(runs[0], "train/loss")) == 1


def test_a_killed_training_goes_on_in_its_run_without_doubled_metrics(
    build: Path, scratch: Path, corpus: Artifact
) -> None:
    shutil.copytree(corpus.directory, scratch / "corpus")
    killed = subprocess.run([sys.executable, "-c", KILLED_TRAINING, build, scratch], check=False)
    assert killed.returncode == -signal.SIGKILL
    with open(scratch / JOURNAL, "ab") as journal:
        journal.write(b'{"time": 1, "st')  # a line that the kill cut
    (before,) = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).search_runs(["1"])
    assert before.info.status == "RUNNING"
    with open_run(build, "default", scratch, training="first", settings={}, corpus=corpus) as run:
        for step in range(80, 120):  # from a checkpoint at step 80
            run.log({"train/loss": 1.0 / (step + 1)}, step)
    (after,) = MlflowClient().search_runs(["1"])
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert [(step, value) for step, value, _ in history(run.run_id, "train/loss")] == [
        (step, 1.0 / (step + 1)) for step in range(120)
    ]


def test_another_training_in_the_same_place_is_another_run(build: Path, scratch: Path, corpus: Artifact) -> None:
    runs = []
    for training in ("first", "second"):
        with open_run(build, "default", scratch, training=training, settings=SETTINGS, corpus=corpus) as run:
            run.log({"train/loss": 1.0}, 1)
            runs.append(run.run_id)
        if training == "first":
            MlflowClient().update_run(run.run_id, status="RUNNING")  # as after a kill
    assert [stored(run_id).info.status for run_id in runs] == ["KILLED", "FINISHED"]
    assert runs[0] != runs[1]
    assert len(list(read_journal(scratch / JOURNAL))) == 1


def test_long_settings_and_many_metrics_pass(build: Path, scratch: Path, corpus: Artifact) -> None:
    settings = {"download": {f"key_{n}": "x" * 7000 if n == 7 else n for n in range(120)}}
    with open_run(build, "default", scratch, training="first", settings=settings, corpus=corpus) as run:
        for step in range(700):
            run.log({f"metric/{n}": float(step) for n in range(3)}, step)
    params = stored(run.run_id).data.params
    assert (len(params), len(params["download.key_7"])) == (120, 6000)
    assert len(history(run.run_id, "metric/2")) == 700


def test_system_metrics_are_sampled(
    build: Path, scratch: Path, corpus: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.SEND_SECONDS", 0.1)
    monkeypatch.setattr("pipeline.tracking.SAMPLE_SECONDS", 0.2)
    for _ in range(2):  # the second time it goes on
        with open_run(build, "default", scratch, training="first", settings={}, corpus=corpus) as run:
            time.sleep(1.0)
    steps = [step for step, _, _ in history(run.run_id, "system/system_memory_usage_megabytes")]
    assert len(steps) >= 2
    assert steps == list(range(len(steps)))


def test_a_journal_skips_what_it_has(tmp_path: Path) -> None:
    for steps in (range(5), range(3, 7)):
        journal = Journal(tmp_path / JOURNAL)
        for step in steps:
            journal.log({"train/loss": 10.0 * steps.start + step}, step)
        journal.log({"validation/loss": 1.0}, steps.stop - 1)  # another metric at a step that train/loss has
        journal.close()
    entries = list(read_journal(tmp_path / JOURNAL))
    assert [(e.step, e.metrics["train/loss"]) for e in entries if "train/loss" in e.metrics] == [
        *((step, float(step)) for step in range(5)),
        *((step, 30.0 + step) for step in (5, 6)),
    ]
    assert [e.step for e in entries if "validation/loss" in e.metrics] == [4, 6]


def test_an_unreachable_server_fails_at_once_and_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{unused_port()}")
    start = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be used.*MLFLOW_TRACKING_URI") as caught:
        open_store(tmp_path)
    assert time.monotonic() - start < 10
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["sqlite:////dev/null/mlflow.db", "ftp://somewhere", "./mlruns"])
def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="cannot be used"):
        open_store(tmp_path)


def test_a_deleted_experiment_is_named_with_what_to_do(build: Path) -> None:
    client = open_store(build)
    client.delete_experiment(experiment_id(client, "default", build))
    with pytest.raises(UserError, match="mlflow experiments restore --experiment-id 1"):
        experiment_id(client, "default", build)


def test_artifacts_of_a_bare_database_stay_in_the_build_directory(build: Path) -> None:
    client = open_store(build)
    location = client.get_experiment(experiment_id(client, "default", build)).artifact_location
    assert location == str(build / "mlartifacts" / "default")


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:secret@host:5432/db") == "postgresql://host:5432/db"
    assert without_password("sqlite:////tmp/a@b/mlflow.db") == "sqlite:////tmp/a@b/mlflow.db"


def test_two_processes_may_meet_a_fresh_store_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipeline.store import *; b = Path(sys.argv[1]); "
        "print(experiment_id(open_store(b), 'default', b))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", script, str(tmp_path / "new build")]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers == ["1\n", "1\n"]


def test_tracking_imports_no_torch() -> None:
    script = "import sys; import pipeline.tracking, pipeline.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_store, directory / "mlflow.db")
    running = Server(directory)
    yield running
    running.kill()


@pytest.mark.slow
def test_every_metric_arrives_though_the_server_is_killed_and_hangs_on_the_way(
    server: Server, tmp_path: Path, scratch: Path, corpus: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setattr("pipeline.tracking.SEND_SECONDS", 0.2)
    longest, step = 0.0, 0

    def train(seconds: float) -> None:
        nonlocal longest, step
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            run.log({"train/loss": 1.0 / (step + 1)}, step)
            longest, step = max(longest, time.monotonic() - start), step + 1
            time.sleep(0.01)

    with open_run(tmp_path, "killed", scratch, training="first", settings=SETTINGS, corpus=corpus) as run:
        train(1)
        server.kill()
        train(3)
        server.start()
        train(1)
        server.signal(signal.SIGSTOP)
        train(3)
        server.signal(signal.SIGCONT)
        train(1)
    assert longest < 0.5
    assert stored(run.run_id).info.status == "FINISHED"
    assert [s for s, _, _ in history(run.run_id, "train/loss")] == list(range(step))


@pytest.mark.slow
def test_a_server_that_stays_away_neither_stops_training_nor_loses_its_journal(
    server: Server, tmp_path: Path, scratch: Path, corpus: Artifact, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setattr("pipeline.tracking.SEND_SECONDS", 0.2)
    try:
        with open_run(tmp_path, "away", scratch, training="first", settings=SETTINGS, corpus=corpus) as run:
            server.kill()
            for step in range(50):
                run.log({"train/loss": 1.0}, step)
                time.sleep(0.02)
        assert [
            record.message.partition(",")[0] for record in caplog.records if record.name == "pipeline.tracking"
        ] == [
            "MLflow does not answer",
            f"MLflow does not answer: the end of {scratch / JOURNAL} is missing there; make register sends it",
        ]
    finally:
        server.start()
    assert len(list(read_journal(scratch / JOURNAL))) == 50
    assert stored(run.run_id).info.status == "RUNNING"


def test_settings_are_flattened_with_json_for_what_is_no_text() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": "x"}, "e": [1, "ü"], "f": None, "g": True}) == {
        "a.b.c": "1",
        "a.d": "x",
        "e": json.dumps([1, "ü"], ensure_ascii=False),
        "f": "null",
        "g": "true",
    }
