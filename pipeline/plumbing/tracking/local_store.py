"""The store that lies in `build` itself: its URL and its artifacts' location, whatever the project's path.

MLflow writes absolute locations into its database. When the project was moved or copied, they are rewritten here, so
that a copy neither loses its artifacts nor uses those of the place that it was copied from. Another checkout may use
the store in this one, and keep its artifacts in its own: what lies there and not here stays as it is.
"""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.utils.file_utils import get_local_path_or_none
from sqlalchemy import make_url

from ..errors import UserError

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # names in `build`
# Where MLflow's tables hold locations.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
    ("trace_tags", "value"),
)
# Experiments that this pipeline has made have this tag; that is why MLflow's pages are those for training.
KIND = {"mlflow.experimentKind": "custom_model_development"}

log = logging.getLogger(__name__)


def local_uri(build: Path) -> str:
    """The URL of the SQLite database in `build`."""
    return sqlite_uri(build.resolve() / DATABASE)


def sqlite_uri(path: Path) -> str:
    """The URL of a SQLite database. UserError if there is none that MLflow can work with."""
    text = str(path)
    if not text.isprintable():  # a newline ends a line of Make's and of MLflow's settings
        raise UserError(f"the path {text!r} has characters that cannot be printed; rename that directory")
    quoted = text.replace("%", "%25").replace("?", "%3F")
    # MLflow would make the directory of sqlite:///... as it is written, quoted; not so where the driver is named.
    return f"sqlite:///{text}" if quoted == text else f"sqlite+pysqlite:///{quoted}"


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite database's URL; None of any other URL."""
    if not uri.startswith(("sqlite:", "sqlite+")):
        return None
    name = make_url(uri).database
    return Path(name) if name and name != ":memory:" else None


def artifact_location(build: Path, experiment: str) -> str:
    """Where the artifacts of an experiment are kept that has no server to say so."""
    return (build.resolve() / ARTIFACTS / experiment).as_uri()


def local_path(location: str) -> Path | None:
    """The directory that a location of MLflow's means on this machine; None of one that is elsewhere."""
    path: str | None = get_local_path_or_none(location)  # type: ignore[no-untyped-call]
    return Path(path) if path else None


def relocate(build: Path) -> None:
    """Let the store in `build` name the artifacts that lie beside it, if the two were moved or copied here."""
    here = build.resolve() / ARTIFACTS
    with closing(sqlite3.connect(build / DATABASE, timeout=60)) as database, database:
        places = _elsewhere(database, here)
        if not places:
            return
        database.create_function("moved", 1, lambda location: _moved(location, places, here))
        for table, column in LOCATIONS:
            database.execute(f"UPDATE {table} SET {column} = moved({column}) WHERE {column} <> moved({column})")
        if not database.total_changes:
            return
    missing = "" if here.is_dir() else ", which is not there: bring it here, too"
    before = ", ".join(str(place.parent) for place in places)
    log.warning("MLflow's store was moved or copied from %s: it now uses the artifacts in %s%s", before, here, missing)


def _elsewhere(database: sqlite3.Connection, here: Path) -> list[Path]:
    """The directories, other than `here`, where the store looks for artifacts of this pipeline's experiments."""
    ours = database.execute(
        "SELECT artifact_location FROM experiments JOIN experiment_tags USING (experiment_id) "
        "WHERE key = ? AND value = ?",
        next(iter(KIND.items())),
    )
    paths = {path.parent for (location,) in ours if (path := local_path(location))}
    return sorted(path for path in paths - {here} if path.name == ARTIFACTS)


def _moved(location: str | None, places: list[Path], here: Path) -> str | None:
    path = local_path(location) if location else None
    for place in places:
        if path and path.is_relative_to(place):
            target = here / path.relative_to(place)
            return location if _stayed(path, target, here) else target.as_uri()
    return location


def _stayed(path: Path, target: Path, here: Path) -> bool:
    """Whether `path` is there and `target` is not; of what has no artifacts yet the directories above it tell."""
    while not os.path.exists(target) and target != here:
        if os.path.exists(path):
            return True
        path, target = path.parent, target.parent
    return False
