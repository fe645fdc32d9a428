"""How MLflow's store is opened, and what is said when it cannot be."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Experiment

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import experiment_id, open_store, without_password
from tests.mlflow_server import unused_port


def test_an_unreachable_server_fails_at_once_and_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{unused_port()}")
    start = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be used.*MLFLOW_TRACKING_URI") as caught:
        open_store(tmp_path)
    assert time.monotonic() - start < 10
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["sqlite:////dev/null/mlflow.db", "sqlite:///a/slip/mlflow.db", "ftp://somewhere", "./mlruns"]
)
def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="cannot be used"):
        open_store(tmp_path)
    assert not (tmp_path / "a").exists()


def test_a_deleted_experiment_is_an_error_with_the_command_that_restores_it(build: Path) -> None:
    client = open_store(build)
    client.delete_experiment(experiment_id(client, "default", build))
    with pytest.raises(UserError, match="-m mlflow experiments restore --experiment-id 1$"):
        experiment_id(client, "default", build)


def test_artifacts_of_a_database_without_a_server_are_in_the_build_directory(build: Path) -> None:
    client = open_store(build)
    location = client.get_experiment(experiment_id(client, "default", build)).artifact_location
    assert location == (build / "mlartifacts" / "default").as_uri()


def test_two_machines_that_make_the_same_experiment_at_once_share_it(build: Path) -> None:
    """They share no lock: each has a build directory of its own."""
    both_missed_it = threading.Barrier(2)

    class Machine(MlflowClient):
        met = False

        def get_experiment_by_name(self, name: str) -> Experiment | None:
            found = super().get_experiment_by_name(name)
            if not self.met:
                self.met = True
                both_missed_it.wait(30)
            return found

    with ThreadPoolExecutor() as pool:
        ids = list(pool.map(lambda n: experiment_id(Machine(), "new", build / n), ("one", "other")))
    assert ids[0] == ids[1]


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:secret@host:5432/db") == "postgresql://host:5432/db"
    assert without_password("sqlite:////tmp/a@b/mlflow.db") == "sqlite:////tmp/a@b/mlflow.db"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1))
def test_no_password_is_shown_whatever_characters_it_has(password: str) -> None:
    secret = f"<{password}>"
    for uri in (f"postgresql://me:{secret}@host/db", f"postgresql://host/db?user=me&password={quote(secret, safe='')}"):
        shown = without_password(f"the store {uri} is down")
        assert secret not in shown
        assert quote(secret, safe="") not in shown
        assert shown.startswith("the store postgresql://host/db")
        assert shown.endswith(" is down")


def test_an_unreachable_database_is_reported_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match="cannot be used.*refused.*correct STORE") as caught:
        open_store(tmp_path, f"postgresql://me:secret@127.0.0.1:{unused_port()}/mlflow")
    assert time.monotonic() - start < 5
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"driver of mysql\+pymysql://host/db is missing .*'pymysql'.* into .venv"):
        open_store(tmp_path, "mysql+pymysql://me:secret@host/db")


@pytest.mark.slow
def test_two_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipeline.plumbing.tracking.store import *; b = Path(sys.argv[1]); "
        "print(experiment_id(open_store(b), 'default', b))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", script, str(tmp_path / "new build")]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers == ["1\n", "1\n"]


@pytest.mark.slow
def test_a_kill_while_the_store_is_made_damages_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from pipeline.plumbing.tracking.store import open_store; "
        "open_store(Path(sys.argv[1]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", script, str(tmp_path)]
    for seconds in (0.1, 0.3, 0.6):  # in which a broken one was made before
        with subprocess.Popen(command, env=environment) as process:
            while process.poll() is None and not list(tmp_path.glob("mlflow.db*")):
                time.sleep(0.005)
            time.sleep(seconds)
            process.kill()
        subprocess.run(command, env=environment, check=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.lock"]
        (tmp_path / "mlflow.db").unlink()
