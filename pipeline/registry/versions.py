"""Find versions in MLflow's registry, and fetch them: whole, and as they were registered, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter

from ..plumbing.artifacts import experiment_option
from ..plumbing.errors import UserError
from ..plumbing.tracking.local_store import local_path
from .packaging import check_files

IDENTITY = "registration"  # tag: what was registered
EXPERIMENT = "experiment"  # tag: whose stages made it, the directory under build/
FILES = "sha256"  # tag: the digest of every file of the package, as JSON
_DIGESTS = TypeAdapter(dict[str, str])
MISSING = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow's codes for an unknown version, and alias


@dataclass(frozen=True)
class VersionId:
    """Which version of a registered model it is, whatever happens to the model.

    A number alone does not say: when the model is deleted and made again, its versions start at 1 again. Tags can be
    edited. The server's time of creation cannot, and no other version with this number has it.
    """

    number: int
    created: int  # Unix milliseconds

    def __str__(self) -> str:
        return str(self.number)

    @property
    def key(self) -> str:
        """The identity as one word, for tags and filters."""
        return f"{self.number}@{self.created}"


def identify(version: ModelVersion) -> VersionId:
    """Return which version it is."""
    return VersionId(int(version.version), int(version.creation_timestamp))


def registered_name(pattern: str, source_language: str, target_language: str) -> str:
    """A registered model's name, with the languages filled in."""
    return pattern.replace("{source_language}", source_language).replace("{target_language}", target_language)


def find_version(client: MlflowClient, name: str, version: int) -> ModelVersion | None:
    """A version, with its aliases; None if there is none of this number."""
    try:
        return client.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code in MISSING:
            return None
        raise


def find_again(client: MlflowClient, name: str, identity: VersionId) -> ModelVersion | None:
    """Return this very version; None if it was deleted, though another may have its number now."""
    found = find_version(client, name, identity.number)
    return found if found and identify(found) == identity else None


def get_version(client: MlflowClient, name: str, version: int, option: str = "") -> ModelVersion:
    """Return a version, with its aliases; UserError if there is none of this number.

    `option` is ` EXP=name` or nothing, for the command that the error names.
    """
    found = find_version(client, name, version)
    if found is None:
        numbers = ", ".join(str(each.version) for each in all_versions(client, name)[-10:])
        known = f"nothing is registered there; run: make register{option}"
        if numbers:
            known = f"the last are {numbers}; see: make versions{option}"
        raise UserError(f"{name} has no version {version}; {known}")
    return found


def all_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of a registered model, the oldest first; without their aliases, which MLflow does not tell here."""
    found: list[ModelVersion] = []
    token = None
    while token != "":
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token or ""
    return sorted(found, key=lambda version: int(version.version))


def makers(client: MlflowClient) -> Iterator[tuple[str, set[str]]]:
    """Yield each version of every model, such as `translator-en-de version 3`, with the experiments that made it.

    There are two where somebody has edited its tag: that one, and the one that its run belongs to.
    """
    experiments = {e.experiment_id: str(e.name) for e in client.search_experiments(ViewType.ALL, max_results=50_000)}
    for model in client.search_registered_models(max_results=1_000):
        for version in all_versions(client, model.name):
            names = {version.tags.get(EXPERIMENT, "")}
            with suppress(MlflowException):  # the run is gone for good
                names.add(experiments.get(client.get_run(str(version.run_id)).info.experiment_id, ""))
            yield f"{version.name} version {version.version}", names - {""}


def make_model(client: MlflowClient, name: str, description: str | None = None) -> None:
    """Make a registered model unless it is there."""
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def recorded_files(version: ModelVersion) -> dict[str, str]:
    """Return the digest of every file of a version's package, by its tag; UserError if that was removed or edited."""
    uri, text = f"models:/{version.name}/{version.version}", version.tags.get(FILES)
    remedy = f"register it again: make register{experiment_option(version.tags.get(EXPERIMENT, 'default'))}"
    if text is None:
        raise UserError(
            f"{uri} was not registered by this pipeline: it has no tag {FILES} with its files' digests; {remedy}"
        )
    try:
        return _DIGESTS.validate_json(text)
    except ValueError:
        raise UserError(
            f"the tag {FILES} of {uri} was edited: got {text[:40]!r}, expected its files' digests as JSON; {remedy}"
        ) from None


def check_presence(uri: str, location: str, option: str) -> None:
    """UserError if a local store has lost the files of a package: of such MLflow would give an empty directory.

    `option` is ` EXP=name` or nothing, for the command that the error names.
    """
    place = local_path(location)
    if place and not place.exists():
        raise UserError(
            f"the files of {uri} are not there: MLflow's store says that they are in {place}; if they were moved, move "
            f"them back; if they are lost, delete the version on its page in MLflow, and run: make register{option}"
        )


def fetch(client: MlflowClient, name: str, version: int, directory: Path) -> Path:
    """Download a version's package into `directory` and check every file; returns where it is.

    UserError if a file is not as it was registered, is missing, or is there in addition.
    """
    uri, found = f"models:/{name}/{version}", get_version(client, name, version)
    recorded = recorded_files(found)
    location = client.get_model_version_download_uri(name, str(version))
    check_presence(uri, location, experiment_option(found.tags.get(EXPERIMENT, "default")))
    try:
        package = Path(download_artifacts(uri, dst_path=str(directory), tracking_uri=client.tracking_uri))
    except (MlflowException, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the files of {uri} cannot be fetched: {reason}; look after the artifact store") from error
    for cache in package.rglob("__pycache__"):  # whoever loads a model from a local store leaves some there
        shutil.rmtree(cache)
    check_files(package, recorded, uri)
    return package
