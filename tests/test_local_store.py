"""The store in `build` works at any path, and after the project was moved or copied."""

import os
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import TraceInfo, TraceLocation, TraceState
from sqlalchemy import make_url

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import RegisterSettings
from pipeline.plumbing.tracking.local_store import sqlite_path, sqlite_uri
from pipeline.plumbing.tracking.store import experiment_id, open_store
from pipeline.registry.registration import Registration
from pipeline.registry.versions import fetch
from tests.published import publish_training
from tests.registered import MODEL

ODD = ["50%2F %20", "what?a=b", "#1+1&2", 'it\'s "mine"', "größe 日本", "$HOME[*];:@,=%%"]


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Unset the store. MLflow sets variables in this process, which are removed at the end."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return monkeypatch


def open_local(build: Path) -> MlflowClient:
    """Open the store as a new process does: MLflow exports the store that was used last."""
    os.environ["MLFLOW_TRACKING_URI"] = ""
    return open_store(build)


def register(build: Path) -> MlflowClient:
    publish_training(build)
    inputs = {name: open_artifact(build / "default" / name, name) for name in ("corpus", "model", "evaluation")}
    registration = Registration(open_local(build), RegisterSettings(), **inputs)
    registration.complete_run()
    registration.version(registration.log_model())
    return registration.client


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [*ODD, "plain"])
def test_a_database_url_leads_back_to_its_file(name: str) -> None:
    path = Path("/data") / name / "mlflow.db"
    assert sqlite_path(sqlite_uri(path)) == path
    assert make_url(sqlite_uri(path)).database == str(path)


def test_a_url_without_a_file_has_no_path() -> None:
    for uri in ("http://host", "postgresql://host/db", "sqlite://", "sqlite:///:memory:", "mlruns"):
        assert sqlite_path(uri) is None


@pytest.mark.parametrize("name", ["two\nlines", "tab\t", "not utf-8 \udcff"])
def test_a_path_that_cannot_be_printed_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be printed; rename that directory"):
        sqlite_uri(tmp_path / name / "mlflow.db")


@pytest.mark.parametrize("name", ["#50%2F %20 'größe'", '$HOME?a=b[*];:@&+"'])
def test_a_version_is_registered_at_any_path_and_fetched_after_a_move(
    tmp_path: Path, empty_store: Path, unset: pytest.MonkeyPatch, name: str
) -> None:
    build = tmp_path / "here" / name / "build"
    build.mkdir(parents=True)
    shutil.copy(empty_store, build)
    register(build)
    assert {path.name for path in build.iterdir()} == {"default", "mlartifacts", "mlflow.db", "mlflow.lock"}
    assert [path.name for path in (tmp_path / "here").iterdir()] == [name]
    (tmp_path / "here").rename(tmp_path / "there")
    moved = tmp_path / "there" / name / "build"
    assert fetch(open_local(moved), MODEL, 1, tmp_path / "fetched").is_dir()
    assert not (tmp_path / "here").exists()


def test_a_copy_uses_its_own_artifacts_alone(
    tmp_path: Path, empty_store: Path, unset: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original, copy = tmp_path / "original", tmp_path / "a copy%20"
    original.mkdir()
    shutil.copy(empty_store, original / "mlflow.db")
    client = register(original)
    in_default = client.get_experiment_by_name("default")
    assert in_default
    (trace_id,) = [
        client._tracing_client.start_trace(
            TraceInfo("tr-1", TraceLocation.from_experiment_id(in_default.experiment_id), 1, TraceState.OK)
        ).trace_id
    ]
    elsewhere = client.create_experiment("by hand", f"{tmp_path}/elsewhere/mlartifacts/x")
    shutil.copytree(original, copy)
    before = contents(original)

    client = open_local(copy)
    assert [record.getMessage() for record in caplog.records] == [
        f"MLflow's database was moved or copied from {original}; it now uses the artifacts in {copy}/mlartifacts"
    ]
    (run,) = client.search_runs([in_default.experiment_id])
    version = client.get_model_version(MODEL, "1")
    locations = [
        client.get_experiment(in_default.experiment_id).artifact_location,
        run.info.artifact_uri,
        client.get_logged_model(str(version.source).removeprefix("models:/")).artifact_location,
        client.get_model_version_download_uri(MODEL, "1"),
        client._tracing_client.get_trace_info(trace_id).tags["mlflow.artifactLocation"],
    ]
    assert all(location.startswith((copy / "mlartifacts").as_uri()) for location in locations), locations
    assert client.get_experiment(elsewhere).artifact_location == f"{tmp_path}/elsewhere/mlartifacts/x"

    weights = next((copy / "mlartifacts").rglob("weights.safetensors"))
    weights.write_bytes(b"changed")
    with pytest.raises(UserError, match="weights.safetensors is changed"):
        fetch(client, MODEL, 1, tmp_path / "fetched")
    client.log_text(client.create_run(in_default.experiment_id).info.run_id, "new", "new.txt")
    assert contents(original) == before
    caplog.clear()
    open_local(copy)
    open_local(original)
    assert not caplog.records


def test_two_checkouts_share_a_store(
    tmp_path: Path, empty_store: Path, unset: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each project has its artifacts in its own directory, whichever of them opens the store."""
    ours, theirs = tmp_path / "a", tmp_path / "b"
    for build in (ours, theirs):
        build.mkdir()
    shutil.copy(empty_store, ours / "mlflow.db")
    open_local(ours)
    for build, name in ((ours, "one"), (theirs, "two")):
        unset.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{ours}/mlflow.db")
        client = open_store(build)
        number = experiment_id(client, name, build)
        run = client.create_run(number).info.run_id
        client.log_text(run, name, "name.txt")
        later = client.create_run(number).info
    assert str(later.artifact_uri).startswith((theirs / "mlartifacts/two").as_uri())
    client = open_local(ours)
    assert client.list_artifacts(run)
    assert client.get_run(later.run_id).info.artifact_uri == later.artifact_uri, "its artifacts are still to come"
    assert not caplog.records
    theirs.rename(tmp_path / "moved")
    shutil.move(tmp_path / "moved/mlartifacts/two", ours / "mlartifacts/two")
    assert open_local(ours).list_artifacts(run), "they were brought here"


def test_paths_and_renamed_experiments_are_relocated_too(
    tmp_path: Path, empty_store: Path, unset: pytest.MonkeyPatch
) -> None:
    """Older stores contain paths in place of URLs."""
    (tmp_path / "old").mkdir()
    shutil.copy(empty_store, tmp_path / "old/mlflow.db")
    client = open_local(tmp_path / "old")
    ours = experiment_id(client, "default", tmp_path / "old")
    plain = client.create_experiment(
        "plain", f"{tmp_path}/old/mlartifacts/plain", {"mlflow.experimentKind": "custom_model_development"}
    )
    client.rename_experiment(ours, "mine")
    (tmp_path / "old").rename(tmp_path / "new")
    client = open_local(tmp_path / "new")
    for number, name in ((ours, "default"), (plain, "plain")):
        location = client.get_experiment(number).artifact_location
        assert location == (tmp_path / "new/mlartifacts" / name).as_uri()


def test_missing_artifacts_are_reported(
    tmp_path: Path, empty_store: Path, unset: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for place in ("old", "new"):
        (tmp_path / place).mkdir()
    shutil.copy(empty_store, tmp_path / "old/mlflow.db")
    experiment_id(open_local(tmp_path / "old"), "default", tmp_path / "old")
    shutil.copy(tmp_path / "old/mlflow.db", tmp_path / "new")
    open_local(tmp_path / "new")
    assert caplog.messages[-1].endswith(f"{tmp_path}/new/mlartifacts, which is missing: move it there, too")


def test_a_store_outside_of_build_does_not_change(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, tmp_path / 'team.db')}")
    number = experiment_id(open_store(tmp_path / "old"), "default", tmp_path / "old")
    client = open_store(tmp_path / "new")
    assert client.get_experiment(number).artifact_location == (tmp_path / "old/mlartifacts/default").as_uri()
