"""A real `make server` on loopback, which tests kill, suspend and start again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent


class Server:
    """The project's server on loopback. It keeps its port when it is started again.

    Its store is SQLite in `directory` unless `settings`, environment variables of stages/server.py, say otherwise.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory, self.port = directory, unused_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = directory / "server.log"
        self.settings = {
            "PORT": str(self.port),
            "STORE": f"sqlite:///{directory}/mlflow.db",
            "ARTIFACTS": str(directory / "mlartifacts"),
            "PYTHONPATH": str(ROOT),
        } | settings
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "stages.server"]
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=environment | self.settings, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5)
            except OSError:
                time.sleep(0.2)
            else:
                return
        self.kill()
        raise AssertionError(self.log.read_text())

    def command_lines(self) -> str:
        """Return the command lines of all its processes, which everybody on the machine can read."""
        return "\n".join(" ".join(one.cmdline()) for one in self._processes())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server."""
        for one in self._processes():
            one.send_signal(number)

    def kill(self) -> None:
        """Kill the server if it is running."""
        if self.process:
            if self.process.poll() is None:
                self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _processes(self) -> list[psutil.Process]:
        assert self.process
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
