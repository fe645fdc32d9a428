"""`make ui`: MLflow's own server over a store of this project."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pipeline.errors import UserError
from stages.ui import free_port, ui
from tests.mlflow_server import unused_port

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize("port", ["", "x", "0", "65536", "-1", "5000 "])
def test_what_is_no_port_is_named(port: str) -> None:
    with pytest.raises(UserError, match="PORT: got "):
        free_port(port)


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"cannot be used .*make ui PORT="):
            free_port(str(taken.getsockname()[1]))


def test_a_server_has_pages_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.org")
    ui()
    assert capsys.readouterr().out.endswith("open https://mlflow.example.org\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    port = unused_port()
    environment = os.environ | {"PORT": str(port), "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "stages.ui"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(f"http://127.0.0.1:{port}" in line for line in process.stdout)
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).status == 200
        process.send_signal(number)
        assert process.wait(30) == 0
    assert free_port(str(port)) == port
