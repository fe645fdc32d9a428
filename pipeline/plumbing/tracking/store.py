"""Owns where MLflow's data lie, how its store is opened, and for how long a server that does not answer is waited for.

By default the store is a SQLite file beside the experiments' outputs; MLFLOW_TRACKING_URI names any other.
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
from sqlalchemy import create_engine

from ..errors import UserError
from .local_store import DATABASE, KIND, artifact_location, local_uri, relocate, sqlite_path, sqlite_uri

REMEDY = "start its server, or correct or unset MLFLOW_TRACKING_URI"


def tracking_uri(build: Path) -> str:
    """MLFLOW_TRACKING_URI, or else the SQLite store in `build`, the directory of all experiments' outputs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_uri(build)


def _is_local(uri: str, build: Path) -> bool:
    """Whether it is the store in `build`, by whatever URL."""
    path = sqlite_path(uri)
    return path is not None and path.resolve() == build.resolve() / DATABASE


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def without_password(text: str) -> str:
    """A URI, or a message with URIs in it, as it may be shown."""
    # A database's password may have unescaped slashes and @, or stand among the options.
    text = re.sub(r"//(?:[^/\s]*:\S*|[^/@\s]*)@", "//", text)
    return re.sub(r"(?i)(password|passwd|pwd)=[^&\s]*", r"\1=...", text)


def open_store(build: Path, uri: str = "") -> MlflowClient:
    """A client of the store, which is made first where it is missing. UserError within seconds if it cannot be used.

    `uri` is another store than the environment's, the one that a server is to keep.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else the first run asks a server of MLflow's makers
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # with its password, at each run's end
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns at every retry
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # seconds, of PostgreSQL's own library; else for ever
    remedy = "correct STORE, or start its database" if uri else REMEDY
    uri = uri or tracking_uri(build)
    mlflow.set_tracking_uri(uri)  # parts of MLflow, its registry among them, ask for this one
    # Each kind of store has errors of its own when it is opened: MLflow's, SQLAlchemy's, Alembic's, ...
    with store_lock(build), short_timeouts(), explain_failure(uri, Exception, remedy):
        _make_database(uri)
        client = MlflowClient()
        client.search_experiments(max_results=1)  # asks a server
        if _is_local(uri, build):
            relocate(build)
    return client


def _make_database(uri: str) -> None:
    """Make a SQLite database where there is none, whole or not at all; of another kind it must be there already.

    Its tables take seconds, in several transactions: a process that is killed on the way would break it for good.
    """
    path = sqlite_path(uri)
    if uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES and not uri.startswith("sqlite"):
        _reach(uri)
    if path and not path.parent.is_dir():  # MLflow would make the directory that a slip names
        raise FileNotFoundError(f"there is no directory {path.parent}")
    if path and not path.exists():
        scratch = path.with_name(f"{path.name}.new")
        for leftover in (scratch, scratch.with_name(f"{scratch.name}-journal")):
            leftover.unlink(missing_ok=True)
        MlflowClient(sqlite_uri(scratch)).search_experiments(max_results=1)
        os.rename(scratch, path)


def _reach(uri: str) -> None:
    """Connect to a database once: MLflow would try for 100 seconds, with a page of warnings each time."""
    try:
        engine = create_engine(uri)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the Python driver of {without_password(uri)} is missing ({error}); "
            "install the package that has it into .venv"
        ) from None
    engine.connect().close()
    engine.dispose()


def is_refusal(error: Exception) -> bool:
    """Whether a server says that this user may not do this."""
    return isinstance(error, MlflowException) and str(error.error_code) == "PERMISSION_DENIED"


@contextmanager
def explain_failure(uri: str, errors: type[Exception] = MlflowException, remedy: str = REMEDY) -> Iterator[None]:
    """UserError in place of what MLflow raises in this block when it cannot reach its store or is refused by it."""
    try:
        yield
    except UserError:
        raise
    except errors as error:
        reason = str(error).strip().partition("\n")[0]
        is_open = errors is MlflowException  # else what is refused is its address
        if is_open and isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
            raise UserError(without_password(f"MLflow's store {uri} refuses what it was given: {reason}")) from error
        if "You are not authenticated" in reason:
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        if is_refusal(error):
            remedy = (
                f"{os.environ.get('MLFLOW_TRACKING_USERNAME')} may not do this; ask the server's admin for the right"
            )
        raise UserError(without_password(f"MLflow's store {uri} cannot be used: {reason}; ") + remedy) from error


def experiment_id(client: MlflowClient, name: str, build: Path) -> str:
    """The id of MLflow's experiment `name`, which is made where it is missing."""
    # A server decides where artifacts go; a bare database would put them into the working directory.
    location = None if is_server(client.tracking_uri) else artifact_location(build, name)
    with store_lock(build):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, artifact_location=location, tags=KIND))
            except MlflowException as error:  # another machine was quicker
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = client.get_experiment_by_name(name)
    assert experiment
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        remedy = restore_command(client.tracking_uri, build, "experiments", experiment.experiment_id)
        raise UserError(f"MLflow's experiment {name!r} was deleted; restore it with: {remedy}")
    return str(experiment.experiment_id)


def restore_command(uri: str, build: Path, what: Literal["runs", "experiments"], identity: str) -> str:
    """Return the command that restores a deleted run or experiment in the store `uri`, as it can be typed here."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    # MLflow would look into another store than the one in `build`; what names any other is set where this is typed.
    store = f"MLFLOW_TRACKING_URI={shlex.quote(uri)} " if _is_local(uri, build) else ""
    option = f"--{what.removesuffix('s')}-id"
    return f"{store}{shlex.quote(str(python))} -m mlflow {what} restore {option} {identity}"


@contextmanager
def short_timeouts() -> Iterator[None]:
    """One quick retry and short waits in this block, unless the user set them: MLflow's defaults wait for 246 s.

    MLflow reads them from the environment, which threads share: the block must last as long as the threads in it, and
    what they open inside it changes nothing.
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
    """A lock around what is made where it is missing: two processes that both miss it would make it twice.

    And two that meet a fresh database at once break it for good.
    """
    build.mkdir(parents=True, exist_ok=True)
    return FileLock(build / "mlflow.lock")
