"""The server over PostgreSQL, as a team would keep its work."""

import re
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.plumbing.tracking.store import experiment_id
from tests.mlflow_server import Server, unused_port
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

LONG = "| BLEU | 36.7 |\n" * 312  # a description of 4,992 characters; PostgreSQL takes 5,000


def test_runs_and_versions_are_stored_in_postgresql(postgres: Postgres, tmp_path: Path) -> None:
    server = Server(tmp_path, STORE=postgres.make_database())
    server.start()
    try:
        client = MlflowClient(server.uri)
        found: list[str] = []
        clients = [  # of several machines, which share no lock
            threading.Thread(target=lambda n=n: found.append(experiment_id(client, "default", tmp_path / f"build{n}")))
            for n in range(4)
        ]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1
        run = client.create_run(found[0])
        client.log_metric(run.info.run_id, "test/beam/bleu", 36.7)
        client.log_text(run.info.run_id, "weights", "model/weights.txt")
        client.create_registered_model("translator")
        version = client.create_model_version(
            "translator", f"{run.info.artifact_uri}/model", run.info.run_id, description=LONG
        )
        client.set_registered_model_alias("translator", "champion", version.version)
        server.kill()
        server.start()
        assert client.get_run(run.info.run_id).data.metrics == {"test/beam/bleu": 36.7}
        assert client.get_model_version_by_alias("translator", "champion").description == LONG
        assert postgres.password not in server.log.read_text() + server.command_lines()
    finally:
        server.kill()


@pytest.mark.parametrize("trouble", ["password", "database", "down"])
def test_an_unusable_database_is_reported_in_one_line(postgres: Postgres, tmp_path: Path, trouble: str) -> None:
    url = {
        "password": postgres.url("postgres").replace(postgres.password, "sesame"),
        "database": postgres.url("no_such_database"),
        "down": postgres.url("postgres").replace(str(postgres.port), str(unused_port())),
    }[trouble]
    reason = {"password": "password authentication failed", "database": "does not exist", "down": "Connection refused"}
    server = Server(tmp_path, STORE=url)
    with pytest.raises(AssertionError) as caught:
        server.start()
    (line,) = str(caught.value).splitlines()
    assert re.match(rf"error: MLflow's store postgresql://127\.0\.0\.1:.*{reason[trouble]}.*correct STORE", line), line
    assert postgres.password not in line
    assert "sesame" not in line
