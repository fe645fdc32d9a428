"""A registry with versions of the tiny untrained model: made once, and copied in a moment for each test."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.artifacts import open_artifact
from pipeline.params import GateSettings, RegisterSettings, ReviewSettings
from pipeline.registry import Registration
from pipeline.store import open_store
from tests.published import publish_training

MODEL = "translator-en-de"
SEEDS = {"first": 1, "other": 2, "again": 1}  # experiment -> seed of its weights; each becomes a version, 1 to 3

# An untrained model repeats itself, and may be slower than its like: all that is no fault here.
ANYTHING = {
    name: {**setting, "threshold": {"bleu_drop": 100.0, "chrf_drop": 100.0, "latency_ratio": 1e6}.get(name, 1.0)}
    for name, setting in GateSettings().model_dump().items()
    if name not in ("significance", "size_ratio", "leak")
} | {"significance": {"threshold": 0.0, "required": True}}
LENIENT = ReviewSettings.model_validate({"gates": ANYTHING})


def register_versions(build: Path) -> None:
    """Versions 1 to 3 of MODEL in the store that the environment names, with all that they are made of in `build`."""
    client = open_store(build)
    for experiment, seed in SEEDS.items():
        publish_training(build, experiment, seed)
        inputs = {name: open_artifact(build / experiment / name, name) for name in ("corpus", "model", "evaluation")}
        registration = Registration(client, RegisterSettings(), **inputs)
        registration.complete_run()
        registration.version(registration.log_model())


def copy_store(build: Path, target: Path) -> None:
    """Copy a SQLite store and its artifacts; where they lie stands in its tables as absolute paths."""
    shutil.copytree(build / "mlartifacts", target / "mlartifacts")
    shutil.copyfile(build / "mlflow.db", target / "mlflow.db")
    with closing(sqlite3.connect(target / "mlflow.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    change = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)"
                    database.execute(change, (str(build), str(target), str(build)))
        database.commit()


def package_of(build: Path, client: MlflowClient, version: int) -> Path:
    """The directory in which the store keeps a version's files."""
    source = client.get_model_version(MODEL, str(version)).source or ""
    (found,) = (build / "mlartifacts").glob(f"*/models/{source.removeprefix('models:/')}/artifacts")
    return found


def get(client: MlflowClient, version: int, model: str = MODEL) -> ModelVersion:
    return client.get_model_version(model, str(version))


def aliases(client: MlflowClient, model: str = MODEL) -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model(model).aliases.items()}
