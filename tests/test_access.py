"""Access to `make server` and `make serve`: both accept other machines only with accounts."""

import asyncio
import base64
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest
from starlette.testclient import TestClient

from pipeline.plumbing.errors import UserError
from pipeline.service import access
from pipeline.service.access import Access, Guard
from pipeline.service.accounts import open_accounts
from pipeline.service.served_version import ServedVersion
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
def test_loopback_needs_neither_auth_nor_an_allowed_host(host: str) -> None:
    assert Access.read({}, host, "serve") == Access(False, ())


def test_serve_refuses_before_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    port = unused_port()
    monkeypatch.setattr(sys, "argv", ["stages.serve", "params.yaml"])
    for name, value in {"HOST": "0.0.0.0", "PORT": str(port), "AUTH": "", "ALLOWED_HOSTS": ""}.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(UserError, match="make serve HOST=0.0.0.0 AUTH=1"):
        serve()


def test_serve_listens_on_ipv6_too() -> None:
    with listen("::1", str(unused_port()), "serve") as listener:
        assert listener.family == socket.AF_INET6


def test_a_guard_asks_for_an_account_and_a_known_name(package: Path) -> None:
    asked: list[tuple[str, str]] = []

    def is_right(name: str, password: str) -> bool:
        asked.append((name, password))
        return (name, password) == ("ann", "a:ü")

    guard = Guard(Access.read(LET_IN, "0.0.0.0", "serve"), is_right)
    with TestClient(Service(ServedVersion("m", 1, package), None, guard), base_url="http://mt.example.org:80") as http:
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


OTHERS = [
    "evil.example.org",
    "",
    "localhost.evil.org",
    "localhost@evil.org",
    "x]localhost",
    "[::1]x",
    "localhost:x",
    "a b",
]
OWN = ["localhost", "LocalHost:5001", "127.0.0.1:5001", "[::1]:5001", "MT.example.org", "mt.example.org:80"]


@pytest.mark.parametrize("auth", [False, True])
def test_requests_with_another_host_name_are_refused(auth: bool) -> None:
    """This holds for servers on loopback and for others."""
    guard = Guard(Access.read({"ALLOWED_HOSTS": "mt.Example.org"}, "127.0.0.1", "serve"))
    alone = Guard(Access.read({}, "127.0.0.1", "serve"))
    for host in OTHERS:
        assert [status(each, "/ping", host) for each in (guard, alone)] == [403, 403], host
    for host in OWN:
        assert status(guard, "/ping", host) == 0, host
    assert status(alone, "/ping", "mt.example.org") == 403
    assert status(alone, "/ping", "localhost", "evil.example.org") == 403


def status(guard: Guard, path: str, *hosts: str, user: str = "") -> int:
    """Return the status of a refusal; 0 if the request is accepted."""
    return asyncio.run(ask(guard, path, *hosts, user=user))


async def ask(guard: Guard, path: str, *hosts: str, user: str = "") -> int:
    headers = [(b"host", host.encode()) for host in hosts]
    headers += [(b"authorization", b"Basic " + base64.b64encode(f"{user}:x".encode()))] if user else []
    refusal = await guard.refusal({"type": "http", "path": path, "headers": headers})
    return refusal.status_code if refusal else 0


def test_known_accounts_are_accepted_while_accounts_cannot_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REMEMBERED_SECONDS", 0.0)
    is_up, accounts = True, {"ann"}

    def is_right(name: str, password: str) -> bool:
        if not is_up:
            raise URLError("Connection refused")
        return name in accounts

    guard = Guard(Access(True, ()), is_right)
    assert [status(guard, "/", user=user) for user in ("ann", "bob")] == [0, 401]
    is_up = False
    assert [status(guard, "/", user=user) for user in ("ann", "bob")] == [0, 503]
    monkeypatch.setattr(access, "AWAY_SECONDS", 0.0)
    is_up = True
    assert status(guard, "/", user="ann") == 0
    is_up = False
    assert status(guard, "/", user="ann") == 503
    monkeypatch.undo()
    is_up = True
    accounts.clear()
    assert status(guard, "/", user="ann") == 401


def test_passwords_wait_in_a_queue_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many checks of passwords take neither the threads that translate nor much memory. Equal ones are checked once."""
    free, asked = threading.Event(), []

    def is_right(name: str, password: str) -> bool:
        asked.append(threading.current_thread().name.partition("_")[0])
        return free.wait(20)

    async def many() -> list[int]:
        users = [str(n % access.WAITING) for n in range(3 * access.WAITING)]
        requests = [asyncio.create_task(ask(guard, "/", user=user)) for user in users]
        await asyncio.sleep(0)
        refused = await ask(guard, "/", user="one more")
        free.set()
        return [refused, *await asyncio.gather(*requests)]

    guard = Guard(Access(True, ()), is_right)
    assert asyncio.run(many()) == [429] + [0] * 3 * access.WAITING
    assert asked == ["accounts"] * access.WAITING


@pytest.mark.parametrize("answer", [200, 401, 403, 500, None])
def test_the_address_of_a_server_may_have_a_name_and_a_password(answer: int | None, tmp_path: Path) -> None:
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["authorization"])
            self.send_response(401 if not seen[-1] else answer or 200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        is_right = open_accounts(f"http://me:p%40ss@127.0.0.1:{server.server_port}/", tmp_path, "")
        if answer == 500:
            with pytest.raises(OSError, match="500"):
                is_right("ann", "x")
        elif answer:
            assert is_right("ann", "x") == (answer == 200)
        server.shutdown()
    assert seen[0] is None, "whether it lets everybody in is asked without"
    if answer is None:
        with pytest.raises(OSError, match="refused"):
            is_right("ann", "x")


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
def test_accounts_of_a_server_are_checked_by_the_server(team: Team, tmp_path: Path) -> None:
    is_right = open_accounts(team.server.uri, tmp_path, "")
    assert is_right(REVIEWER, team.passwords[REVIEWER])
    assert not is_right(REVIEWER, "wrong")
    assert not list(tmp_path.glob("*.accounts.db"))


@pytest.mark.slow
def test_a_server_without_accounts_is_refused(server: Server, tmp_path: Path) -> None:
    server.start()
    with pytest.raises(UserError, match="asks for no account; start it with accounts"):
        open_accounts(os.environ["MLFLOW_TRACKING_URI"], tmp_path, "")
