"""One rule for `make server` and `make serve`: other machines are let in with an account alone."""

import os
import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.plumbing.errors import UserError
from pipeline.service.access import Access, Guard
from pipeline.service.accounts import open_accounts
from pipeline.service.served import Served
from pipeline.service.serving import Service
from stages.serve import listen, serve
from tests.accounts import REVIEWER, Team
from tests.mlflow_server import Server, unused_port

LET_IN = {"AUTH": "1", "ALLOWED_HOSTS": "mt.example.org"}


@pytest.mark.parametrize("target", ["server", "serve"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "mt.example.org"])
@pytest.mark.parametrize("more", [{}, {"AUTH": "1"}, {"ALLOWED_HOSTS": "mt.example.org"}])
def test_other_machines_need_an_account_and_a_name(target: str, host: str, more: dict[str, str]) -> None:
    with pytest.raises(UserError, match=f"^HOST={host} lets .*make {target} HOST={host} AUTH=1 ALLOWED_HOSTS="):
        Access.read(more, host, target)
    assert Access.read(LET_IN, host, target).auth


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_neither(host: str) -> None:
    assert Access.read({}, host, "serve") == Access(False, ())


def test_serve_refuses_before_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    port = unused_port()
    for name, value in {"HOST": "0.0.0.0", "PORT": str(port), "AUTH": "", "ALLOWED_HOSTS": ""}.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(UserError, match="make serve HOST=0.0.0.0 AUTH=1"):
        serve()


def test_it_listens_on_ipv6_too() -> None:
    with listen("::1", str(unused_port())) as listener:
        assert listener.family == socket.AF_INET6


def test_a_guard_asks_for_an_account_and_a_known_name(package: Path) -> None:
    asked: list[tuple[str, str]] = []

    def is_right(name: str, password: str) -> bool:
        asked.append((name, password))
        return (name, password) == ("ann", "a:ü")

    guard = Guard(Access.read(LET_IN, "0.0.0.0", "serve"), is_right)
    with TestClient(Service(Served("m", 1, package), None, guard), base_url="http://mt.example.org:80") as http:
        for path in ("/", "/version", "/invocations", "/nothing"):
            answer = http.get(path)
            assert (answer.status_code, answer.headers["x-model-version"]) == (401, "1"), path
            assert answer.headers["www-authenticate"].startswith("Basic ")
        assert [http.get(path).status_code for path in ("/ping", "/health")] == [200, 200]
        for wrong in (("ann", "b"), ("", ""), ("bob", "a:ü")):
            assert http.get("/", auth=wrong).status_code == 401
        for broken in ("", "Basic", "Basic é", "Basic !!!", "Basic YW5u", "Bearer YW5uOmE6w7w="):
            assert http.get("/", headers=[(b"authorization", broken.encode())]).status_code == 401
        asked.clear()
        for _ in range(3):
            assert http.post("/invocations", json={"inputs": ["a"]}, auth=("ann", "a:ü")).status_code == 200
        assert asked == [("ann", "a:ü")], "a password that was right is not checked again at once"
        assert http.get("/ping", headers={"host": "evil.example.org"}).status_code == 403
        assert http.get("/ping", headers={"host": "[::1]:5001"}).status_code == 200


@pytest.mark.slow
def test_a_store_without_a_server_has_the_accounts_of_make_server(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(UserError, match="MLFLOW_AUTH_ADMIN_PASSWORD: got 0 characters"):
        open_accounts(uri, tmp_path, "")
    is_right = open_accounts(uri, tmp_path, "long enough for all")
    assert is_right("admin", "long enough for all")
    assert not is_right("admin", "wrong")
    assert not is_right("nobody", "wrong")
    assert (tmp_path / "mlflow.accounts.db").exists()


@pytest.mark.slow
def test_a_server_says_itself_who_has_an_account(team: Team, tmp_path: Path) -> None:
    is_right = open_accounts(team.server.uri, tmp_path, "")
    assert is_right(REVIEWER, team.passwords[REVIEWER])
    assert not is_right(REVIEWER, "wrong")
    assert not list(tmp_path.glob("*.accounts.db"))


@pytest.mark.slow
def test_a_server_that_lets_everybody_in_has_no_accounts(server: Server, tmp_path: Path) -> None:
    server.start()
    with pytest.raises(UserError, match="lets everybody in; start it with accounts"):
        open_accounts(os.environ["MLFLOW_TRACKING_URI"], tmp_path, "")
