"""Open MLflow's store, explain its errors, and limit the time to wait for a server that does not answer.

By default the store is a SQLite file in `build`; MLFLOW_TRACKING_URI names another.
"""

import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.utils import mlflow_tags
from sqlalchemy import create_engine

from ..errors import UserError
from .local_store import DATABASE, KIND, artifact_location, local_uri, relocate, sqlite_path, sqlite_uri

REMEDY = "start its server, or correct or unset MLFLOW_TRACKING_URI"


def tracking_uri(build: Path) -> str:
    """Return MLFLOW_TRACKING_URI or, if it is not set, the URL of the SQLite store in `build`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_uri(build)


def _is_local(uri: str, build: Path) -> bool:
    """Return whether a URL, in any form, names the store in `build`."""
    path = sqlite_path(uri)
    return path is not None and path.resolve() == build.resolve() / DATABASE


def is_server(uri: str) -> bool:
    """Return whether a URL names a tracking server."""
    return uri.startswith(("http://", "https://"))


def without_password(text: str) -> str:
    """Return a URL, or a message with URLs in it, without their passwords."""
    # A database's password may contain unescaped slashes and @, or be among the options.
    text = re.sub(r"//(?:[^/\s]*:\S*|[^/@\s]*)@", "//", text)
    return re.sub(r"(?i)(password|passwd|pwd)=[^&\s]*", r"\1=...", text)


def open_store(build: Path, uri: str = "") -> MlflowClient:
    """Return a client of the store, and make the store if it is missing.

    Raise UserError, within seconds, if the store cannot be used. A server passes the URL of its own store as `uri`. By
    default it is that of `tracking_uri`.
    """
    os.environ.setdefault(
        "MLFLOW_DISABLE_TELEMETRY", "true"
    )  # otherwise the first run would contact a server of MLflow's developers
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # the URL may contain a password
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # otherwise it warns of every retry
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # seconds; PostgreSQL's library would wait for ever
    remedy = "correct STORE, or start its database" if uri else REMEDY
    uri = uri or tracking_uri(build)
    mlflow.set_tracking_uri(uri)  # parts of MLflow, such as its registry, read this
    # Opening a store may raise errors of MLflow, SQLAlchemy, Alembic and others.
    with store_lock(build), short_timeouts(), explain_failure(uri, Exception, remedy):
        _make_store(uri)
        client = MlflowClient()
        client.search_experiments(max_results=1)  # connects to a server
        if _is_local(uri, build):
            relocate(build)
    return client


def _make_store(uri: str) -> None:
    """Make a missing SQLite database, completely or not at all. Another kind of database must exist already.

    MLflow makes the tables in several transactions, which take seconds. A kill between two of them would leave a
    database that MLflow cannot use or repair.
    """
    path = sqlite_path(uri)
    if uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES and not uri.startswith("sqlite"):
        _connect(uri)
    if path and not path.parent.is_dir():  # MLflow would make the directory, even if its name is a typing error
        raise FileNotFoundError(f"there is no directory {path.parent}")
    if path and not path.exists():
        scratch = path.with_name(f"{path.name}.new")
        for leftover in (scratch, scratch.with_name(f"{scratch.name}-journal")):
            leftover.unlink(missing_ok=True)
        MlflowClient(sqlite_uri(scratch)).search_experiments(max_results=1)
        os.rename(scratch, path)


def _connect(uri: str) -> None:
    """Connect to a database once. MLflow would try for 100 seconds, with a page of warnings each time."""
    try:
        engine = create_engine(uri)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the Python driver of {without_password(uri)} is missing ({error}); install its package into .venv"
        ) from None
    engine.connect().close()
    engine.dispose()


def is_refusal(error: Exception) -> bool:
    """Return whether a server refused permission to this user."""
    return isinstance(error, MlflowException) and str(error.error_code) == "PERMISSION_DENIED"


@contextmanager
def explain_failure(uri: str, errors: type[Exception] = MlflowException, remedy: str = REMEDY) -> Iterator[None]:
    """Raise UserError in place of MLflow's errors in this block, such as those of a server that cannot be reached."""
    try:
        yield
    except UserError:
        raise
    except errors as error:
        reason = str(error).strip().partition("\n")[0]
        is_open = errors is MlflowException  # otherwise the store is being opened, and the error is about its URL
        if is_open and isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
            raise UserError(without_password(f"MLflow's store {uri} refuses a value: {reason}")) from error
        if "You are not authenticated" in reason:
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        if is_refusal(error):
            user = os.environ.get("MLFLOW_TRACKING_USERNAME")
            remedy = f"{user} has no permission for this; ask the admin of the server for it"
        raise UserError(without_password(f"MLflow's store {uri} cannot be used: {reason}; ") + remedy) from error


def experiment_id(client: MlflowClient, name: str, build: Path, description: str = "") -> str:
    """Return the id of MLflow's experiment `name`, and make it, with this description, if it is missing."""
    # A server decides where artifacts are kept. A database alone would put them into the working directory.
    location = None if is_server(client.tracking_uri) else artifact_location(build, name)
    with store_lock(build):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                tags = KIND | ({mlflow_tags.MLFLOW_RUN_NOTE: description} if description else {})
                return str(client.create_experiment(name, artifact_location=location, tags=tags))
            except MlflowException as error:  # another machine has made it meanwhile
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = client.get_experiment_by_name(name)
    assert experiment
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        remedy = restore_command(client.tracking_uri, build, "experiments", experiment.experiment_id)
        raise UserError(f"MLflow's experiment {name!r} was deleted; restore it with: {remedy}")
    return str(experiment.experiment_id)


def restore_command(uri: str, build: Path, what: Literal["runs", "experiments"], identity: str) -> str:
    """Return the command to type in this directory to restore a deleted run or experiment in the store `uri`."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    # Without this variable, MLflow would not look into the store in `build`. For another store it is set already.
    store = f"MLFLOW_TRACKING_URI={shlex.quote(uri)} " if _is_local(uri, build) else ""
    option = f"--{what.removesuffix('s')}-id"
    return f"{store}{shlex.quote(str(python))} -m mlflow {what} restore {option} {identity}"


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Use one retry and a timeout of 5 s in this block, unless the user set them. By default MLflow waits for 246 s.

    MLflow reads these values from the environment, which threads share. So the block must outlast the threads in it.
    """
    wanted = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def store_lock(build: Path) -> AbstractContextManager[object]:
    """Return a lock to hold while making something that is missing, so that two processes do not make it twice.

    Two processes that initialise the same new database would make it unusable.
    """
    build.mkdir(parents=True, exist_ok=True)
    return FileLock(build / "mlflow.lock")
