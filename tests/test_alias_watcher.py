"""`make serve` follows its alias: it serves the version with the alias, loses no request, and survives all errors."""

import http.client
import json
import shutil
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import uvicorn
from mlflow.exceptions import MlflowException

from pipeline.plumbing.errors import UserError
from pipeline.registry.versions import PACKAGE_TAG
from pipeline.seq2seq.translator import Translator
from pipeline.service import alias_watcher
from pipeline.service.alias_watcher import AliasWatcher
from pipeline.service.served_version import ServedVersion
from pipeline.service.serving import Service
from tests.published import SENTENCES
from tests.registered import MODEL, Registry, get, package_of, record_files


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def champions(registry: Path) -> Registry:
    """Version 1 is the champion."""
    champions = Registry(registry)
    champions.crown(1)
    return champions


@pytest.fixture
def watcher(champions: Registry, told: list[str]) -> AliasWatcher:
    models = champions.models()
    return AliasWatcher(
        champions.client,
        partial(models.resolve, "champion"),
        models.told_of_doubt,
        told.append,
    )


def look(watcher: AliasWatcher) -> ServedVersion | None:
    """Return the version that one call of `look` loads; None if it loads none."""
    found: list[ServedVersion] = []
    watcher.look(found.append)
    return found[0] if found else None


def test_a_version_is_loaded_once_and_again_when_the_alias_moves(
    champions: Registry, watcher: AliasWatcher, told: list[str]
) -> None:
    assert watcher.load().version == 1
    assert look(watcher) is None
    champions.crown(2)
    served = look(watcher)
    assert served
    assert served.version == 2
    assert look(watcher) is None
    assert told == [f"now serving {MODEL} version 2"]
    assert not watcher.problem


def test_a_version_that_replaces_another_with_its_number_is_loaded(champions: Registry, watcher: AliasWatcher) -> None:
    watcher.load()
    client, old = champions.client, get(champions.client, 3)
    champions.client.delete_registered_model(MODEL)
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, str(old.source), old.run_id, tags=old.tags)
    client.set_registered_model_alias(MODEL, "champion", "1")
    watcher._doubt = lambda version: None
    served = look(watcher)
    assert served
    assert served.version == 1


def damage(champions: Registry) -> None:
    package = package_of(champions.build, champions.client, 2)
    (package / "artifacts/model/weights.safetensors").write_bytes(b"damaged")


def break_code(champions: Registry) -> None:
    """The files of the version are as recorded, but it fails at a request."""
    champions.break_code(2)
    record_files(champions.build, champions.client, 2)


@pytest.mark.parametrize(
    ("harm", "said"), [(damage, "weights.safetensors is changed, missing"), (break_code, "out of order")]
)
def test_if_a_version_cannot_be_loaded_the_one_before_is_served(
    champions: Registry,
    watcher: AliasWatcher,
    told: list[str],
    harm: Callable[[Registry], None],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = champions.build / "whole"
    package = package_of(champions.build, champions.client, 2)
    shutil.copytree(package, whole)
    recorded = get(champions.client, 2).tags[PACKAGE_TAG]
    served = watcher.load()
    harm(champions)
    champions.crown(2)
    assert look(watcher) is None
    assert look(watcher) is None
    assert [text.startswith("warning: version 2 cannot be loaded: ") for text in told] == [True]
    assert said in told[0]
    assert watcher.problem == "version 2 cannot be loaded"
    assert served.version == 1

    shutil.rmtree(package)
    shutil.copytree(whole, package)
    champions.client.set_model_version_tag(MODEL, "2", PACKAGE_TAG, recorded)
    assert look(watcher) is None, "it is tried again later"
    monkeypatch.setattr(alias_watcher, "RETRY_SECONDS", 0.0)
    watcher._retry = 0.0
    found = look(watcher)
    assert found
    assert found.version == 2
    assert not watcher.problem


def test_a_problem_of_the_registry_is_told_once_and_so_is_its_end(
    champions: Registry, watcher: AliasWatcher, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.load()
    champions.client.delete_registered_model_alias(MODEL, "champion")
    for _ in range(3):
        assert look(watcher) is None
    assert len(told) == 1
    assert f"the alias champion of {MODEL} was removed by hand: it is on " in told[0]
    assert watcher.problem == "the registry cannot be asked which version to serve"
    champions.client.set_registered_model_alias(MODEL, "champion", "1")
    assert look(watcher) is None
    assert (told[1:], watcher.problem) == (["the problem is over"], "")

    def is_down(*arguments: object) -> None:
        raise MlflowException("postgresql://me:secret@host is down\nmore")

    monkeypatch.setattr(watcher, "_find", is_down)
    assert look(watcher) is None
    assert told[-1].endswith("postgresql://host is down")


HELD = "the alias is not on the recorded champion, so it is not followed"


def test_an_alias_that_was_moved_by_hand_is_told_and_not_followed(
    champions: Registry, watcher: AliasWatcher, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.load()
    champions.client.set_registered_model_alias(MODEL, "champion", "2")
    with monkeypatch.context() as patch:
        patch.setattr(alias_watcher, "fetch", lambda *arguments: pytest.fail("it was fetched"))
        assert look(watcher) is look(watcher) is None
    moved = f"the alias champion of {MODEL} was moved by hand: it is on version 2, "
    assert len(told) == 1
    assert told[0].startswith(f"warning: {HELD}: {moved}")
    assert watcher.problem == HELD
    champions.crown(2)
    served = look(watcher)
    assert served
    assert (told[2:], watcher.problem) == (["the problem is over"], "")


def test_a_version_that_the_record_does_not_name_is_never_loaded(champions: Registry, watcher: AliasWatcher) -> None:
    """Somebody moves the alias and moves it back between two calls of `look`."""
    watcher._find = lambda: get(champions.client, 2)
    with pytest.raises(UserError, match=f"version 2 of {MODEL} has the alias champion, but was not promoted"):
        watcher.load()


def test_during_a_promotion_the_alias_may_be_on_the_version_before(
    champions: Registry, watcher: AliasWatcher, told: list[str]
) -> None:
    history = champions.history()
    history.append("promote", champions.identity(2), history.state(), "ann", "better", forced=False)
    assert watcher.load().version == 1
    champions.client.set_registered_model_alias(MODEL, "champion", "3")
    assert look(watcher) is None
    assert watcher.problem == HELD
    champions.client.set_registered_model_alias(MODEL, "champion", "2")
    served = look(watcher)
    assert served
    assert served.version == 2


def test_at_the_start_an_alias_moved_by_hand_is_an_error(champions: Registry, watcher: AliasWatcher) -> None:
    champions.client.set_registered_model_alias(MODEL, "champion", "2")
    with pytest.raises(UserError, match="was moved by hand: .*make promote VERSION=1 REASON=.* puts it back"):
        watcher.load()


def test_health_reports_problems_of_the_registry(
    champions: Registry, watcher: AliasWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds even if nobody reads the messages, and when watching ends."""
    monkeypatch.setattr(alias_watcher, "POLL_SECONDS", 0.01)
    watcher._tell = broken_pipe
    with serving(Service(watcher.load(), watcher)) as port:
        champions.client.set_registered_model_alias(MODEL, "champion", "2")
        wait_for_problem(port, HELD)
        champions.crown(2)
        wait_for_problem(port, "")
        assert health(port)["version"] == "2"
        monkeypatch.setattr(watcher, "look", broken_pipe)
        wait_for_problem(port, "the alias cannot be read")
        monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
        monkeypatch.setattr(watcher, "_note", broken_pipe)
        wait_for_problem(port, "the thread that watches the alias has ended")


def broken_pipe(*arguments: object) -> None:
    raise BrokenPipeError(32, "Broken pipe")


def health(port: int) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
        found: dict[str, str] = json.load(answer)
        return found


def wait_for_problem(port: int, problem: str) -> None:
    deadline = time.monotonic() + 60
    while (found := health(port).get("problem", "").partition(";")[0]) != problem:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_a_version_that_calls_exit_does_not_end_the_service(
    champions: Registry, watcher: AliasWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.load()
    champions.crown(2)
    monkeypatch.setattr(alias_watcher, "ServedVersion", lambda *arguments: sys.exit(0))
    assert look(watcher) is None
    assert watcher.problem == "version 2 cannot be loaded"


def test_a_first_version_that_cannot_be_loaded_is_an_error(champions: Registry, watcher: AliasWatcher) -> None:
    damage(champions)
    champions.crown(2)
    with pytest.raises(UserError, match="weights.safetensors is changed"):
        watcher.load()


@contextmanager
def serving(service: Service) -> Iterator[int]:
    """A real server on loopback, in a thread; its port."""
    server = uvicorn.Server(uvicorn.Config(service, log_level="warning", lifespan="on"))
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


Answer = tuple[int, str, list[str]]  # status, version, translations


class Clients:
    """Threads that send requests without a pause, and the answers that they got."""

    def __init__(self, port: int, number: int = 8) -> None:
        self.answers: list[Answer] = []
        self.errors: list[Exception] = []
        self._port, self._stopped = port, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(number)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, version: str) -> None:
        """Wait until that version answers, and has answered each client."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not self.errors:
            if sum(v == version for _, v, _ in self.answers) >= 2 * len(self._threads):
                return
            time.sleep(0.01)
        raise AssertionError((self.errors, self.answers[-3:]))

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        body = json.dumps({"inputs": SENTENCES})
        while not self._stopped.is_set():
            try:
                connection.request("POST", "/invocations", body, {"content-type": "application/json"})
                response = connection.getresponse()
                found = json.loads(response.read()).get("predictions", [])
                self.answers.append((response.status, response.headers["x-model-version"], found))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.errors.append(error)
                return


def test_no_request_is_lost_when_the_version_changes(
    champions: Registry, watcher: AliasWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_watcher, "POLL_SECONDS", 0.05)
    models = {number: package_of(champions.build, champions.client, number) / "artifacts/model" for number in (1, 2)}
    translations = {
        str(number): [t.text for t in Translator.load(model).translate(SENTENCES, 2)]
        for number, model in models.items()
    }
    assert translations["1"] != translations["2"]
    with serving(Service(watcher.load(), watcher)) as port, Clients(port) as clients:
        for number in (1, 2, 1, 2):
            clients.answers.clear()
            champions.crown(number)
            clients.wait_for(str(number))
            seen = list(clients.answers)
            assert [(status, found) for status, version, found in seen if translations[version] != found] == []
            assert {status for status, _, _ in seen} == {200}
    assert not clients.errors
