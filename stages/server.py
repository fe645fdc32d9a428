"""Run MLflow's tracking server for this project's store until Ctrl-C or SIGTERM: `make server`, or `make ui`.

With PARAMS_FILE... as arguments, as in `make ui`, it prints the addresses of that experiment's pages. HOST, PORT,
STORE, ARTIFACTS, AUTH and ALLOWED_HOSTS are read from the environment. A password in them reaches MLflow through the
environment too, because other users of the machine can read command lines.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.plumbing.command import BUILD, fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.text_table import aligned
from pipeline.plumbing.tracking.store import is_server, open_store, store_lock, tracking_uri, without_password
from pipeline.registry.versions import EXPERIMENT, all_versions
from pipeline.reviews.pages import Pages
from pipeline.reviews.review_runs import REPORT
from pipeline.service.access import Access
from pipeline.service.accounts import PASSWORD, accounts_database, check_password, prepare_accounts
from stages.registry import Registry, open_registry

SHUTDOWN_SECONDS = 10  # the time that MLflow's processes have to end
# Variables that MLflow's process does not need: the admin's account exists already, and it calls no other server.
WITHHELD = {PASSWORD, "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_TRACKING_URI"}


@dataclass(frozen=True)
class Options:
    """The options of the server."""

    host: str
    port: int
    store: str  # a database's URL
    artifacts: str  # a directory or a URL
    access: Access

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Options":
        """Read the options from the environment. Raise UserError if one is wrong."""
        host = environment.get("HOST") or "127.0.0.1"
        return cls(
            host,
            free_port(environment.get("PORT") or "5000", host),
            database_url(environment.get("STORE") or tracking_uri(BUILD)),
            as_destination(environment.get("ARTIFACTS") or str(BUILD / "mlartifacts")),
            Access.read(environment, host, "server"),
        )

    @property
    def address(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return variables for MLflow's process. Jobs are disabled, because they run code that clients send."""
        own = {
            "MLFLOW_BACKEND_STORE_URI": self.store,
            "MLFLOW_ARTIFACTS_DESTINATION": self.artifacts,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        if self.access.allowed_hosts:
            # MLflow compares these with the headers Host and Origin, which include the port.
            hosts = [
                f"{name}{port}"
                for name in ("localhost", "127.0.0.1", *self.access.allowed_hosts)
                for port in ("", ":*")
            ]
            origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
            own["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(hosts)
            own["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins)
        return own


def main() -> None:
    uri = os.environ.get("STORE") or tracking_uri(BUILD)
    if is_server(uri):
        name = "STORE" if os.environ.get("STORE") else "MLFLOW_TRACKING_URI"
        print(f"{name} is a server, which has its own pages: open {without_password(uri)}")
        print(*describe_pages(uri), sep="", end="")
        return
    options = Options.read(os.environ)
    environment = prepare(options)
    run_server(options, environment, describe_pages(options.address))


def prepare(options: Options) -> dict[str, str]:
    """Make the database and the accounts if they are missing. Return the environment of MLflow's process."""
    environment = {k: v for k, v in os.environ.items() if k not in WITHHELD} | options.environment()
    password, accounts = os.environ.get(PASSWORD, ""), accounts_database(options.store, BUILD)
    if options.access.auth:
        check_password(password, accounts)
    open_store(BUILD, os.environ.get("STORE", ""))
    if options.access.auth:
        with store_lock(BUILD):
            environment |= prepare_accounts(accounts, password)
    return environment


def describe_pages(server: str) -> list[str]:
    """Return a line for each page of the experiment that the arguments name. Without arguments, return no line."""
    if not sys.argv[1:]:
        return []
    registry = open_registry(os.environ.get("STORE", ""))
    found = list(find_pages(registry, Pages(server)))
    if not found:
        return [f"  MLflow has nothing of {registry.models.experiment} yet; run: make{registry.models.option}\n"]
    return [f"{line}\n" for line in aligned(found)]


def find_pages(registry: Registry, pages: Pages) -> Iterator[tuple[str, str]]:
    """Yield a title and an address for each page of an experiment and its registered models that is there."""
    client, models = registry.client, registry.models
    if found := client.get_experiment_by_name(models.experiment):
        yield f"runs of {models.experiment}", pages.experiment(found.experiment_id)
    for name in dict.fromkeys((models.candidates, models.production)):
        versions = all_versions(client, name)
        if not versions:
            continue
        yield f"model {name}", pages.model(name)
        newest = next((v for v in reversed(versions) if v.tags.get(EXPERIMENT) == models.experiment), versions[-1])
        yield f"newest version, {newest.version}", pages.version(name, str(newest.version))
        with suppress(UserError):  # the experiment of the reviews was deleted
            for review in registry.review_runs.find(newest)[:1]:
                run = client.get_run(review.run_id).info
                yield f"its review, {review.verdict}", pages.run(run.experiment_id, run.run_id, REPORT)
        (registered,) = client.search_registered_models(f"name = '{name}'")
        for alias, version in registered.aliases.items():
            yield f"{alias}, version {version}", pages.version(name, str(version))


def run_server(options: Options, environment: dict[str, str], pages: list[str]) -> None:
    # MLflow's processes are in a process group, so that all of them end when this process is told to end.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup sets SIG_IGN
            signal.signal(number, interrupt)
    server = start(options, environment)
    try:
        wait_until_ready(server, options.address)
        print(f"MLflow: {options.address} (Ctrl-C stops it)", flush=True)
        print(*pages, sep="", end="", flush=True)
        server.wait()
        raise UserError(f"MLflow's server ended with status {server.returncode}; see its messages above")
    except KeyboardInterrupt:
        print("stopped")
    finally:
        stop(server)


def start(options: Options, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", options.host, "--port", str(options.port)]
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    command += ["--app-name", "basic-auth"] if options.access.auth else []
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        try:
            directly.open(f"{address}/health", timeout=5)
        except OSError:
            time.sleep(0.2)
        else:
            return


def stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave some of the processes behind
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(SHUTDOWN_SECONDS)
        os.killpg(server.pid, signal.SIGKILL)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def free_port(text: str, host: str) -> int:
    """Return PORT as a number. Raise UserError if it is not a number, or if the port is in use."""
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise UserError(f"PORT: got {text!r}, expected a number from 1 to 65535, as in: make server PORT=5001")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(text), type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise UserError(f"HOST: got {host!r}, expected an address or a name of this machine") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise UserError(
                f"port {text} of {host} cannot be used ({error.strerror}); try another: make server PORT=5001"
            ) from None
    return int(text)


def database_url(text: str) -> str:
    """Return STORE. Raise UserError if it is not the URL of a database."""
    try:
        make_url(text)
    except ArgumentError:
        raise UserError(
            f"STORE: got {without_password(text)!r}, expected the URL of a database, such as sqlite:////data/mlflow.db "
            "or postgresql://user:password@host/name"
        ) from None
    return text


def as_destination(text: str) -> str:
    """Return ARTIFACTS as a URL. Raise UserError if MLflow does not know this kind of storage."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    destination = text if "://" in text else Path(text).resolve().as_uri()
    try:
        get_artifact_repository(destination)
    except (MlflowException, ImportError) as error:
        reason = str(error).partition(". Currently")[0]
        raise UserError(f"ARTIFACTS: {without_password(destination)} cannot be used: {reason}") from None
    return destination


if __name__ == "__main__":
    fail_clearly(main)
