"""Find versions in MLflow's registry, and fetch their packages. Packages that were changed are refused."""

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

from ..plumbing.artifacts import experiment_option
from ..plumbing.errors import UserError
from ..plumbing.tracking.local_store import local_path
from .package_record import RECORD_FILE, PackageRecord, read_record
from .packaging import check_files

PACKAGE_TAG = "package_sha256"  # tag: the digest of the package's record, see package_record.py
EXPERIMENT = "experiment"  # tag: the experiment that made the version, a directory under build/
# Tags for people, who see them in MLflow's table of versions. No command relies on them, because anybody may edit them.
VERDICT_TAG, BLEU_TAG, DIFFERENCE_TAG, DATA_TAG, COMMIT_TAG = "verdict", "BLEU", "difference", "data", "commit"
KIND_TAG = "kind"  # tag of a registered model
NOT_REVIEWED = "not reviewed"
MISSING = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow's codes: unknown version, unknown alias


@dataclass(frozen=True)
class VersionId:
    """The identity of one version of a registered model. It never stands for another version.

    A number is not enough: if the model is deleted and made again, its versions start at 1 again. Tags can be edited.
    The time of creation is the server's and cannot be edited, and no other version with this number has the same.
    """

    number: int
    created: int  # Unix milliseconds

    def __str__(self) -> str:
        return str(self.number)

    @property
    def key(self) -> str:
        """Return the identity as one word, for tags and filters."""
        return f"{self.number}@{self.created}"


def identify(version: ModelVersion) -> VersionId:
    """Return the identity of a version."""
    return VersionId(int(version.version), int(version.creation_timestamp))


def registered_name(pattern: str, source_language: str, target_language: str) -> str:
    """Return a registered model's name: `pattern` with the languages filled in."""
    return pattern.replace("{source_language}", source_language).replace("{target_language}", target_language)


def find_version(client: MlflowClient, name: str, version: int) -> ModelVersion | None:
    """Return the version with this number, with its aliases; None if there is none."""
    try:
        return client.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code in MISSING:
            return None
        raise


def find_again(client: MlflowClient, name: str, identity: VersionId) -> ModelVersion | None:
    """Return the version with this identity; None if it was deleted, even if another version has its number now."""
    found = find_version(client, name, identity.number)
    return found if found and identify(found) == identity else None


def get_version(client: MlflowClient, name: str, version: int, option: str = "") -> ModelVersion:
    """Return the version with this number, with its aliases. Raise UserError if there is none.

    `option` is the ` EXP=name` of the command in the error message, or an empty string.
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
    """Return all versions of a registered model, oldest first. They have no aliases: MLflow leaves them out here."""
    found: list[ModelVersion] = []
    token = None
    while token != "":
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token or ""
    return sorted(found, key=lambda version: int(version.version))


def makers(client: MlflowClient) -> Iterator[tuple[str, set[str]]]:
    """Yield each version of every model, such as `translator-en-de version 3`, with the experiments that made it.

    If somebody has edited the version's tag, there are two experiments: the one in the tag and the one of its run.
    """
    experiments = {e.experiment_id: str(e.name) for e in client.search_experiments(ViewType.ALL, max_results=50_000)}
    for model in client.search_registered_models(max_results=1_000):
        for version in all_versions(client, model.name):
            names = {version.tags.get(EXPERIMENT, "")}
            with suppress(MlflowException):  # the run was deleted permanently
                names.add(experiments.get(client.get_run(str(version.run_id)).info.experiment_id, ""))
            yield f"{version.name} version {version.version}", names - {""}


def make_model(client: MlflowClient, name: str, description: str, kind: str = "") -> None:
    """Make a registered model with this description. If the model exists, add the description if it has none.

    A description that a person wrote is not changed. MLflow's list of models shows `kind` beside the name. Translators
    have none, because a tag on a model's page moves the table of versions down.
    """
    try:
        client.create_registered_model(name, {KIND_TAG: kind} if kind else None, description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        found = client.get_registered_model(name)
        if kind and KIND_TAG not in found.tags:
            client.set_registered_model_tag(name, KIND_TAG, kind)
        if not found.description:
            client.update_registered_model(name, description)


def package_digest(version: ModelVersion, experiment: str = "default") -> str:
    """Return the digest of a version's package from the version's tag. Raise UserError if there is no such tag.

    The error message has a command that registers the version's experiment again. If the tag with the name of this
    experiment is missing, the command has `experiment`.
    """
    if PACKAGE_TAG not in version.tags:
        raise UserError(
            f"version {version.version} of {version.name} has no tag {PACKAGE_TAG}: it was not registered by the "
            f"present version of this pipeline; register it again: {register_command(version, experiment)}"
        )
    return version.tags[PACKAGE_TAG]


def uri_of(version: ModelVersion) -> str:
    """Return the URI with which MLflow loads a version."""
    return f"models:/{version.name}/{version.version}"


def register_command(version: ModelVersion, experiment: str = "default") -> str:
    """Return the command that registers the model of a version again, which also sets missing tags again."""
    return f"make register{experiment_option(version.tags.get(EXPERIMENT, experiment))}"


def fetch_record(client: MlflowClient, version: ModelVersion, directory: Path) -> PackageRecord:
    """Download the record of a version's package into `directory`, and compare its digest with the version's tag."""
    digest = package_digest(version)  # before anything is downloaded
    return _check_record(version, _download(client, version, RECORD_FILE, directory), digest)


def _check_record(version: ModelVersion, file: Path, digest: str) -> PackageRecord:
    remedy = f"; to set the tag again, run: {register_command(version)}"
    if not file.is_file():
        raise UserError(f"{uri_of(version)} is not as it was registered: it has no file {file.name}{remedy}")
    return read_record(file, digest, uri_of(version), remedy)


def check_presence(uri: str, location: str, option: str) -> None:
    """Raise UserError if the files of a package are missing from a local store.

    Without this check, MLflow would return an empty directory. `option` is the ` EXP=name` of the command in the error
    message, or an empty string.
    """
    place = local_path(location)
    if place and not place.exists():
        raise UserError(
            f"the files of {uri} are missing: MLflow's store says that they are in {place}; if they were moved, move "
            f"them back; if they are lost, delete the version on its page in MLflow, and run: make register{option}"
        )


def fetch(client: MlflowClient, name: str, version: int, directory: Path) -> Path:
    """Download a version's package into `directory`, and check every file. Return the path of the package.

    Raise UserError if a file was changed, removed or added since the version was registered.
    """
    found = get_version(client, name, version)
    digest = package_digest(found)
    package = _download(client, found, "", directory)
    for cache in package.rglob("__pycache__"):  # loading a model from a local store leaves such files there
        shutil.rmtree(cache)
    record = _check_record(found, package / RECORD_FILE, digest)
    check_files(package, record, uri_of(found))
    return package


def _download(client: MlflowClient, version: ModelVersion, path: str, directory: Path) -> Path:
    """Download a file of a version's package, or all files if `path` is empty."""
    uri = uri_of(version)
    location = client.get_model_version_download_uri(version.name, str(version.version))
    check_presence(uri, location, experiment_option(version.tags.get(EXPERIMENT, "default")))
    try:
        # MLflow would look `uri` up in the registry of the environment, which may not be that of the client.
        source = f"{location}/{path}".rstrip("/")
        return Path(download_artifacts(source, dst_path=str(directory), tracking_uri=client.tracking_uri))
    except (MlflowException, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the files of {uri} cannot be fetched: {reason}; check the artifact store") from error
