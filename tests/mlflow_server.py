"""A real `mlflow server` on loopback, which tests may kill, stop and start again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


class Server:
    """`mlflow server` on loopback over a SQLite store, to be started, killed and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, unused_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.directory}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.directory / "mlartifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5)
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError((self.directory / "server.log").read_text())

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill it if it runs."""
        if self.process:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
