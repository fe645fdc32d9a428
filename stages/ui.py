"""MLflow's interface over this project's store, on this machine's loopback only, until Ctrl-C. PORT=5000 by default."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

from pipeline.errors import UserError
from pipeline.store import is_server, open_store, tracking_uri, without_password
from stages.command import fail_clearly

BUILD = Path("build")
HOST = "127.0.0.1"
STOP_SECONDS = 10


def ui() -> None:
    uri = tracking_uri(BUILD)
    if is_server(uri):
        print(f"MLFLOW_TRACKING_URI names a server, which has pages of its own: open {without_password(uri)}")
        return
    port = free_port(os.environ.get("PORT", "5000"))
    open_store(BUILD)
    server = start_server(uri, port)
    # MLflow's processes are a group of their own: they end when this one is told to, in order and all of them.
    signal.signal(signal.SIGTERM, interrupt)
    try:
        wait_until_ready(server, port)
        print(f"MLflow: http://{HOST}:{port} (Ctrl-C stops it)", flush=True)
        server.wait()
        raise UserError(f"MLflow's server ended by itself with status {server.returncode}")
    except KeyboardInterrupt:
        print("stopped")
    finally:
        stop(server)


def free_port(text: str) -> int:
    """PORT as a number, if it is one and nothing listens there."""
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise UserError(f"PORT: got {text!r}, expected a number from 1 to 65535, as in: make ui PORT=5001")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except OSError as error:
            raise UserError(f"port {text} cannot be used ({error.strerror}); try: make ui PORT=5001") from None
    return int(text)


def start_server(uri: str, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(BUILD.resolve() / "mlartifacts"), "--host", HOST, "--port", str(port)]
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return


def stop(server: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(STOP_SECONDS)
        os.killpg(server.pid, signal.SIGKILL)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    fail_clearly(ui)
