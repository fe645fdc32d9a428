"""Owns finding a version in the registry and fetching its files, which must be those that were registered."""

import json
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from .errors import UserError
from .packaging import digests
from .registry import FILES
from .store import explain_failure

ADDED = {"registered_model_meta"}  # by MLflow, to what it downloads


def resolve(client: MlflowClient, name: str, alias: str) -> ModelVersion:
    """The version of the registered model `name` that has the alias now."""
    with explain_failure(client.tracking_uri):
        try:
            aliases = client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(f"there is no registered model {name!r}; register one with: make register") from None
        if alias not in aliases:
            known = ", ".join(f"{known} (version {version})" for known, version in sorted(aliases.items()))
            raise UserError(f"no version of {name} has the alias {alias!r}; aliases: {known or 'none'}")
        return client.get_model_version(name, aliases[alias])


def fetch(client: MlflowClient, name: str, version: str, directory: Path) -> Path:
    """Download the version's package into `directory`; UserError unless it has the files that were registered."""
    with explain_failure(client.tracking_uri):
        try:
            recorded = client.get_model_version(name, version).tags.get(FILES)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(f"there is no version {version} of {name}") from None
        if recorded is None:
            raise UserError(
                f"{name} version {version} has no tag {FILES!r}; only `make register` makes versions with it"
            )
        package = Path(download_artifacts(f"models:/{name}/{version}", dst_path=str(directory)))
    found = {path: digest for path, digest in digests(package).items() if path not in ADDED}
    if changed := sorted(json.loads(recorded).items() ^ found.items()):
        raise UserError(
            f"{name} version {version} is not as it was registered: {changed[0][0]} is changed, missing or new; "
            "do not use it; register the model again with: make register"
        )
    return package
