"""Find MLflow's database in `build`, and correct the locations in it after the project was moved or copied.

MLflow writes absolute locations of artifacts into its database. After a move or a copy they are rewritten, so that a
copy of the project finds its own artifacts, and not those of the original. Another checkout may use this database but
keep its artifacts in its own `build`. The locations of artifacts that exist only there do not change.
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
# Tables and columns of MLflow's database that contain locations.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
    ("trace_tags", "value"),
)
# A tag of the experiments that this pipeline makes. It also makes MLflow show its pages for training.
KIND = {"mlflow.experimentKind": "custom_model_development"}

log = logging.getLogger(__name__)


def local_uri(build: Path) -> str:
    """Return the URL of the SQLite database in `build`."""
    return sqlite_uri(build.resolve() / DATABASE)


def sqlite_uri(path: Path) -> str:
    """Return the URL of a SQLite database. Raise UserError if its path cannot be part of a URL."""
    text = str(path)
    if not text.isprintable():  # a newline would end a line of Make and of MLflow's settings
        raise UserError(f"the path {text!r} has characters that cannot be printed; rename that directory")
    quoted = text.replace("%", "%25").replace("?", "%3F")
    # With sqlite:///, MLflow would create a directory with the quoted name; with a named driver it does not.
    return f"sqlite:///{text}" if quoted == text else f"sqlite+pysqlite:///{quoted}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite database's URL; None for any other URL."""
    if not uri.startswith(("sqlite:", "sqlite+")):
        return None
    name = make_url(uri).database
    return Path(name) if name and name != ":memory:" else None


def artifact_location(build: Path, experiment: str) -> str:
    """Return the location of an experiment's artifacts in a store without a server, which would choose another."""
    return (build.resolve() / ARTIFACTS / experiment).as_uri()


def local_path(location: str) -> Path | None:
    """Return the directory that a location of MLflow stands for; None if it is not on this machine."""
    path: str | None = get_local_path_or_none(location)  # type: ignore[no-untyped-call]
    return Path(path) if path else None


def relocate(build: Path) -> None:
    """Rewrite the locations in the database in `build` if it was moved or copied here with its artifacts."""
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
    missing = "" if here.is_dir() else ", which is missing: move it there, too"
    before = ", ".join(str(place.parent) for place in places)
    log.warning(
        "MLflow's database was moved or copied from %s; it now uses the artifacts in %s%s", before, here, missing
    )


def _elsewhere(database: sqlite3.Connection, here: Path) -> list[Path]:
    """Return the directories, except `here`, in which the database expects artifacts of this pipeline."""
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
    """Return whether `path` exists and `target` does not; if neither does, compare the directories above them."""
    while not os.path.exists(target) and target != here:
        if os.path.exists(path):
            return True
        path, target = path.parent, target.parent
    return False
