"""Fixtures that several test files share. Slow libraries are imported by the fixtures that need them."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.project import Finished, Project, finish, new_project

if TYPE_CHECKING:
    from pipeline.plumbing.artifacts import Artifact
    from pipeline.registry.sandbox.isolation import Way
    from tests.accounts import Team
    from tests.mlflow_server import Server
    from tests.postgres import Postgres

# A process in the background of a script, or under nohup, ignores these signals, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the project, in which no stage has run."""
    return new_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A project whose pipeline was killed once and has ended. All processes of pytest-xdist share one."""
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(common / "finished.lock"):
        made = common / "finished.pickle"
        if not made.exists():
            (common / "finished").mkdir()
            made.write_bytes(pickle.dumps(finish(new_project(common / "finished"))))
    project: Finished = pickle.loads(made.read_bytes())
    return project


@pytest.fixture
def a_process_of_its_own() -> Iterator[None]:
    """Reset Accelerate before and after the test, because it keeps the first settings of a process for ever."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store with its tables. Creating one takes seconds, so tests copy it."""
    from pipeline.plumbing.tracking.store import open_store

    directory = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{directory}/mlflow.db")
        open_store(directory)
    return directory / "mlflow.db"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    from tests.published import publish_corpus

    return publish_corpus(tmp_path_factory.mktemp("default") / "corpus")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """The directory of a published model, tiny and untrained. Tests do not change it."""
    from tests.published import publish_training

    build = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, build)}")
        publish_training(build)
    return build / "default/model"


@pytest.fixture(scope="session")
def package(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of that model, as it is registered. Tests do not change it."""
    from pipeline.plumbing.artifacts import open_artifact
    from pipeline.registry import packaging
    from tests.published import PARAMS, SENTENCES

    scratch = tmp_path_factory.mktemp("package")
    packaging.package(scratch, open_artifact(tiny_model, "train"), "a card", (SENTENCES, PARAMS))
    return scratch / "package"


@pytest.fixture
def build(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build directory with a store of its own and a directory for the experiment `default`."""
    (tmp_path / "build/default").mkdir(parents=True)
    shutil.copyfile(empty_store, tmp_path / "build/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/build/mlflow.db")
    return tmp_path / "build"


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A build directory with three registered versions, see tests/registered.py. Tests copy it."""
    from tests.registered import register_versions

    build = tmp_path_factory.mktemp("versions")
    shutil.copyfile(empty_store, build / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{build}/mlflow.db")
        register_versions(build)
    return build


@pytest.fixture
def registry(versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that build directory; MLFLOW_TRACKING_URI names its store."""
    from tests.registered import copy_store

    (tmp_path / "build").mkdir()
    copy_store(versions, tmp_path / "build")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/build/mlflow.db")
    return tmp_path / "build"


@pytest.fixture
def server(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that the test starts; MLFLOW_TRACKING_URI names it."""
    from tests.mlflow_server import Server

    (tmp_path / "server").mkdir()
    shutil.copyfile(empty_store, tmp_path / "server/mlflow.db")
    server = Server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    yield server
    server.kill()


@pytest.fixture
def team(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A running server with accounts that have no rights yet; MLFLOW_TRACKING_URI names it."""
    from tests.accounts import Team

    (tmp_path / "team").mkdir()
    shutil.copyfile(empty_store, tmp_path / "team/mlflow.db")
    team = Team(tmp_path / "team")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.server.uri)
    try:
        team.start()
        yield team
    finally:
        team.server.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL server. The test is skipped where PostgreSQL is not installed."""
    from tests.postgres import running_postgres

    with running_postgres() as postgres:
        yield postgres


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way | None:
    """Confine programs in this way only; see tests/sandboxed.py for the ways."""
    from pipeline.registry.sandbox import isolation

    found: Way | None = request.param
    monkeypatch.setattr(isolation, "find_way", lambda: found)
    return found
