"""`make server` and `make ui` run MLflow's server for the store of this project."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import open_store
from pipeline.reviews.review_runs import REPORT, ReviewRuns
from stages.server import Options, describe_pages, free_port, main
from tests.accounts import ADMIN, REVIEWER, TRAINER, Team
from tests.mlflow_server import ROOT, Server, unused_port
from tests.project import Project, stages_in
from tests.registered import MODEL, PASS, get


@pytest.mark.parametrize("port", ["", "x", "0", "65536", "-1", "5000 "])
def test_a_port_that_is_not_a_number_is_an_error(port: str) -> None:
    with pytest.raises(UserError, match="PORT: got "):
        free_port(port, "127.0.0.1")


def test_a_port_in_use_is_an_error_with_what_to_type() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"cannot be used .*make server PORT="):
            free_port(str(taken.getsockname()[1]), "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AUTH", "yes", "AUTH: got 'yes'"),
        ("HOST", "no such host", "HOST: got 'no such host'"),
        ("STORE", "mlruns", "STORE: got 'mlruns'"),
        ("ARTIFACTS", "attic://x", "ARTIFACTS: attic://x cannot be used"),
        ("ALLOWED_HOSTS", "*", "ALLOWED_HOSTS: got '\\*'"),
        ("ALLOWED_HOSTS", "a.example.org,*.example.org", "ALLOWED_HOSTS: got '\\*.example.org'"),
    ],
)
def test_an_impossible_option_is_an_error(name: str, value: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Options.read({"PORT": str(unused_port()), name: value})


@pytest.mark.parametrize("more", [{}, {"AUTH": "1"}, {"ALLOWED_HOSTS": "mlflow.example.org"}])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_auth_and_an_allowed_host(host: str, more: dict[str, str]) -> None:
    given = {"HOST": host, "PORT": str(unused_port())}
    with pytest.raises(UserError, match="AUTH=1 ALLOWED_HOSTS="):
        Options.read(given | more)
    assert Options.read(given | {"AUTH": "1", "ALLOWED_HOSTS": "mlflow.example.org"}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_neither_auth_nor_an_allowed_host(host: str) -> None:
    assert Options.read({"HOST": host, "PORT": str(unused_port())}).host == host


@pytest.mark.parametrize("password", ["", "elevenchars", "password1234"])
def test_a_weak_password_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"PORT": str(unused_port()), "AUTH": "1", "MLFLOW_AUTH_ADMIN_PASSWORD": password}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="MLFLOW_AUTH_ADMIN_PASSWORD: got .* 12 or more") as caught:
        main()
    assert "elevenchars" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "STORE"])
def test_make_ui_names_the_address_of_another_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    monkeypatch.setenv(variable, "https://me:secret@mlflow.example.org")
    monkeypatch.setattr(sys, "argv", ["stages.server"])
    main()
    assert capsys.readouterr().out == (
        f"{variable} is a server, which has its own pages: open https://mlflow.example.org\n"
    )


def test_the_pages_of_an_experiment_are_named(registry: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    overlay = tmp_path / "other.yaml"
    overlay.write_text("")
    monkeypatch.setattr(sys, "argv", ["stages.server", str(ROOT / "params.yaml"), str(overlay)])
    client = open_store(registry)
    client.set_registered_model_alias(MODEL, "champion", "1")
    client.create_model_version(MODEL, f"models:/{MODEL}/1", tags={"experiment": "first"})
    found = client.get_experiment_by_name("other")
    assert found
    reviews = ReviewRuns(client, MODEL, registry)
    run = client.get_run(reviews.keep(get(client, 2), get(client, 1), PASS, "").run_id).info
    lines = [line.split() for line in describe_pages("http://here")]
    form = "?workflowType=machine_learning"
    assert [(" ".join(words[:-1]), words[-1]) for words in lines] == [
        ("runs of other", f"http://here/#/experiments/{found.experiment_id}/runs{form}"),
        (f"model {MODEL}", f"http://here/#/models/{MODEL}{form}"),
        ("newest version, 2", f"http://here/#/models/{MODEL}/versions/2{form}"),
        (
            "its review, pass",
            f"http://here/#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/{REPORT}{form}",
        ),
        ("champion, version 1", f"http://here/#/models/{MODEL}/versions/1{form}"),
    ]
    overlay.write_text("register: {model_name: nothing}")
    overlay.rename(tmp_path / "new.yaml")
    monkeypatch.setattr(sys, "argv", ["stages.server", str(ROOT / "params.yaml"), str(tmp_path / "new.yaml")])
    assert describe_pages("http://here") == ["  MLflow has nothing of new yet; run: make EXP=new\n"]


def test_values_arrive_as_they_were_typed(project: Project) -> None:
    typed = "$(touch made) `touch made` $HOME \"'"
    run = project.make("server", f"ALLOWED_HOSTS={typed}", PORT=str(unused_port()), HOST="x86_64-compiler-host")
    assert run.stderr.startswith("error: ALLOWED_HOSTS: got '$(touch'"), run.stderr
    assert run.returncode == 2
    assert not (project.root / "made").exists()
    assert project.make("-n", "ui").stdout.split() == [
        *project.make("-n", "server").stdout.split(),
        "params.yaml",
        "experiments/smoke.yaml",
    ]
    assert stages_in(project.make("-n", "ui").stdout) == []


def fetch(url: str, method: str = "GET", **headers: str) -> int:
    """Return the status of the answer."""
    request = urllib.request.Request(url, b"{}" if method == "POST" else None, {"Content-Type": "application/json"})
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_server_runs_until_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    server = Server(tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | server.settings
    command = [sys.executable, "-m", "stages.server"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(server.uri in line for line in process.stdout)
        assert fetch(f"{server.uri}/health") == 200
        others = psutil.Process(process.pid).children(recursive=True)
        assert len(others) == 2, "MLflow's own process and one worker"
        process.send_signal(number)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert not [other for other in others if other.is_running()]
    assert free_port(str(server.port), "127.0.0.1") == server.port


@pytest.mark.slow
def test_a_browser_may_use_the_allowed_host_names(server: Server) -> None:
    server.settings["ALLOWED_HOSTS"] = "mlflow.example.org"
    server.start()
    pages, search = f"{server.uri}/", f"{server.uri}/ajax-api/2.0/mlflow/runs/search"
    for name in ("mlflow.example.org", f"mlflow.example.org:{server.port}", f"localhost:{server.port}"):
        assert fetch(pages, Host=name) == 200, name
        assert fetch(search, "POST", Host=name, Origin=f"http://{name}") == 200, name
        assert fetch(search, "POST", Host=name, Origin="http://evil.example.org") == 403, name
    assert fetch(pages, Host="evil.example.org") == 403
    assert fetch(pages, Host="mlflow.example.org.evil.example.org") == 403


def refused(client: MlflowClient, what: str, *arguments: str | None) -> bool:
    """Return whether the server refuses a call of the client for lack of permission."""
    try:
        getattr(client, what)(*arguments)
    except MlflowException as error:
        if "Permission denied" in str(error):
            return True
        raise
    return False


@pytest.mark.slow
def test_trainer_and_reviewer_have_different_permissions(team: Team) -> None:
    client, champion = MlflowClient(team.server.uri), ("champion", "1")
    assert fetch(f"{team.server.uri}/") == 401
    assert fetch(f"{team.server.uri}/api/2.0/mlflow/experiments/search?max_results=1") == 401
    with team.acting(ADMIN):
        experiment = client.create_experiment("default")
        for model in ("production", "candidates"):
            client.create_registered_model(model)
    with team.acting(TRAINER):  # may only read
        assert client.get_experiment(experiment).name == "default"
        assert refused(client, "create_run", experiment)
        assert refused(client, "update_registered_model", "candidates", None, "mine")
    team.grant_experiment(TRAINER, experiment)
    team.grant_model(TRAINER, "candidates")
    team.grant_model(REVIEWER, "production")

    with team.acting(TRAINER):
        run = client.create_run(experiment)
        client.log_text(run.info.run_id, "weights", "model/weights.txt")
        source = f"{run.info.artifact_uri}/model"
        assert not refused(client, "create_model_version", "candidates", source, run.info.run_id)
        assert not refused(client, "set_registered_model_alias", "candidates", *champion)
        assert refused(client, "create_model_version", "production", source, run.info.run_id)
        assert refused(client, "set_registered_model_alias", "production", *champion)
    with team.acting(REVIEWER):
        assert refused(client, "create_run", experiment)
        assert refused(client, "create_model_version", "candidates", source, run.info.run_id)
        assert refused(client, "set_registered_model_alias", "candidates", *champion)
        assert refused(client, "set_model_version_tag", "candidates", "1", "review", "pass")
        assert client.copy_model_version("models:/candidates/1", "production").version == "1"
        assert not refused(client, "set_registered_model_alias", "production", *champion)
        assert client.get_model_version_by_alias("production", "champion").run_id == run.info.run_id


@pytest.mark.slow
def test_accounts_survive_a_restart_and_passwords_are_not_visible(team: Team, tmp_path: Path) -> None:
    seen = team.server.command_lines()
    team.server.kill()
    del team.server.settings["MLFLOW_AUTH_ADMIN_PASSWORD"]  # needed only for the first start
    team.server.start()
    with pytest.raises(UserError, match="401.*set MLFLOW_TRACKING_USERNAME"):
        open_store(tmp_path)
    with team.acting(REVIEWER):
        assert open_store(tmp_path).search_experiments()
    for password in team.passwords.values():
        assert password not in team.server.log.read_text() + seen + team.server.command_lines()
