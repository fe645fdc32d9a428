"""`make serve`: which version is served, what is refused at the start, and the process until it is stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import RegisterSettings
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.registration import Registration
from pipeline.registry.versions import fetch, identify
from pipeline.reviews.promotion_history import PromotionHistory
from pipeline.reviews.registered_models import RegisteredModels
from pipeline.seq2seq.translator import Translator
from stages.serve import listen
from tests.mlflow_server import unused_port
from tests.published import SENTENCES, publish_training

PROJECT = Path(__file__).parent.parent
NAME = "translator-en-de"
TYPE = "application/json"


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """A build directory whose store, named by the environment, has a version with the alias champion."""
    build = tmp_path_factory.mktemp("my build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, build)}")
        publish_training(build)
        inputs = {name: open_artifact(build / "default" / name, name) for name in ("corpus", "model", "evaluation")}
        registration = Registration(open_store(build), RegisterSettings(), **inputs)
        version = registration.version(registration.log_model())
        history = PromotionHistory(registration.client, NAME)
        entry = history.append("promote", identify(version), history.state(), "ann", "it was so", forced=False)
        history.set_aliases()
        history.settle(entry)
        yield build


def test_a_missing_alias_or_model_is_an_error_that_names_the_known_ones(registered: Path) -> None:
    client = open_store(registered)
    models = RegisteredModels(client, NAME, NAME, "default")
    assert int(models.resolve("champion").version) == 1
    with pytest.raises(UserError, match=rf"no version of {NAME} has the alias 'best'; aliases: champion \(version 1\)"):
        models.resolve("best")
    with pytest.raises(
        UserError, match="no version of other has .*; aliases: none; other has no version; run: make reg"
    ):
        RegisteredModels(client, "other", "other", "default").resolve("champion")
    with pytest.raises(UserError, match=f"{NAME} has no version 9; the last are 1"):
        fetch(client, NAME, 9, registered)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("artifacts/model/weights.safetensors", "more"),
        ("artifacts/code/seq2seq/search.py", "more"),
        ("artifacts/code/seq2seq/translator/__init__.py", "more"),  # would be imported in place of translator.py
        ("artifacts/code/seq2seq/loss.py", "gone"),
    ],
)
def test_a_version_whose_files_were_changed_is_not_served(
    registered: Path, tmp_path: Path, file: str, change: str
) -> None:
    client = open_store(registered)
    (package,) = registered.glob("mlartifacts/default/models/*/artifacts")
    shutil.copytree(package, tmp_path / "whole")
    try:
        if change == "gone":
            (package / file).unlink()
        else:
            (package / file).parent.mkdir(exist_ok=True)
            with open(package / file, "ab") as damaged:
                damaged.write(b" ")
        with pytest.raises(UserError, match=f"1 is not as it was registered: {file} is changed, missing or not part"):
            fetch(client, NAME, 1, tmp_path / "fetched")
    finally:
        shutil.rmtree(package)
        shutil.copytree(tmp_path / "whole", package)
    assert (fetch(client, NAME, 1, tmp_path / "again") / "MLmodel").exists()


@pytest.mark.parametrize("port", ["", "x", "0", "65536"])
def test_a_port_that_is_not_a_number_is_an_error(port: str) -> None:
    with pytest.raises(UserError, match="PORT: got .* as in: make serve EXP=mine PORT="):
        listen("127.0.0.1", port, "serve EXP=mine")


@pytest.mark.slow
def test_the_process_serves_many_clients_until_it_is_told_to_stop(registered: Path) -> None:
    translations = Translator.load(registered / "default/model").translate(SENTENCES, 2)
    local = dict(zip(SENTENCES, (t.text for t in translations), strict=True))
    requests = [[SENTENCES[n % 3]] * (n % 4) for n in range(100)]
    for number in (signal.SIGINT, signal.SIGTERM):
        port = unused_port()
        with start(registered, PORT=str(port)) as process:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith(f"serving {NAME} version 1 at http://127.0.0.1:{port} ")
            with ThreadPoolExecutor(32) as clients:
                answers = list(clients.map(partial(ask, port), requests))
            assert answers == [[local[sentence] for sentence in request] for request in requests]
            with pytest.raises(urllib.error.HTTPError, match="400"):
                ask(port, ["\ud800"])
            with start(registered, PORT=str(port)) as second:
                out, err = second.communicate(timeout=60)
                assert (second.returncode, out) == (2, "")
                assert (
                    err
                    == f"error: 127.0.0.1:{port} cannot be used (Address already in use); try: make serve PORT=5002\n"
                )
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out, err) == (0, "stopped\n", "")


@pytest.mark.slow
def test_a_client_that_sends_nothing_is_disconnected(registered: Path) -> None:
    port = unused_port()
    with start(registered, PORT=str(port)) as process:
        assert process.stdout
        process.stdout.readline()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as silent:
            silent.sendall(
                b"POST /invocations HTTP/1.1\r\nhost: localhost\r\n"
                b"content-type: application/json\r\ncontent-length: 9\r\n\r\n{"
            )
            assert ask(port, [SENTENCES[0]])
            assert silent.recv(100).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as garbled:
            garbled.sendall(b"\x00\xffnonsense\r\n\r\n")
            assert garbled.recv(100).startswith(b"HTTP/1.1 400 ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_errors_of_the_process_are_one_line(registered: Path) -> None:
    for more, said in (
        ({"ALIAS": "best"}, f"error: no version of {NAME} has the alias 'best'"),
        ({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{unused_port()}"}, "error: MLflow's store http://127.0.0.1"),
    ):
        with start(registered, PORT=str(unused_port()), **more) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out, len(err.splitlines())) == (2, "", 1)
        assert err.startswith(said)


@contextmanager
def start(build: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the service; a test that fails does not leave it behind."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"} | more
    command = [sys.executable, "-m", "stages.serve", str(PROJECT / "params.yaml")]
    with subprocess.Popen(
        command, cwd=build, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(port: int, sentences: list[str]) -> list[str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps({"inputs": sentences}).encode(), {"content-type": TYPE}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        predictions: list[str] = json.load(response)["predictions"]
        return predictions
