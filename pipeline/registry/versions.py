"""Find versions in MLflow's registry, and fetch their packages. A package that was changed is refused."""

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
# Tags for people, who see them in MLflow's table of versions. No command decides by them: anybody may edit them.
VERDICT_TAG, BLEU_TAG, DIFFERENCE_TAG, DATA_TAG, COMMIT_TAG = "verdict", "BLEU", "difference", "data", "commit"
KIND_TAG = "kind"  # tag of a registered model
NOT_REVIEWED = "not reviewed"
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


def make_model(client: MlflowClient, name: str, description: str, kind: str = "") -> None:
    """Make a registered model, or give one that has no description this one. A person's description stays.

    MLflow's list of models shows `kind` beside the name. Translators have none: on the page of a model with a tag, the
    table of versions begins further down.
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
    """Return the digest of a version's package, which its tag has. Raise UserError if it has no such tag.

    `experiment` is registered again if the version has lost the tag that names its own.
    """
    if PACKAGE_TAG not in version.tags:
        raise UserError(
            f"version {version.version} of {version.name} has no tag {PACKAGE_TAG}: it was not registered by the "
            f"present version of this pipeline; register it again: {register_command(version, experiment)}"
        )
    return version.tags[PACKAGE_TAG]


def uri_of(version: ModelVersion) -> str:
    """Return the address by which MLflow loads a version."""
    return f"models:/{version.name}/{version.version}"


def register_command(version: ModelVersion, experiment: str = "default") -> str:
    """Return the command that registers the model of a version again, and gives it back the tags that it lost."""
    return f"make register{experiment_option(version.tags.get(EXPERIMENT, experiment))}"


def fetch_record(client: MlflowClient, version: ModelVersion, directory: Path) -> PackageRecord:
    """Download the record of a version's package into `directory`, and check it against the version's tag."""
    digest = package_digest(version)  # before anything is downloaded
    return _check_record(version, _download(client, version, RECORD_FILE, directory), digest)


def _check_record(version: ModelVersion, file: Path, digest: str) -> PackageRecord:
    remedy = f"; to set the tag again, run: {register_command(version)}"
    if not file.is_file():
        raise UserError(f"{uri_of(version)} is not as it was registered: it has no file {file.name}{remedy}")
    return read_record(file, digest, uri_of(version), remedy)


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
    """Download a version's package into `directory`, and check every file; return where it is.

    Raise UserError if a file was changed, removed or added since the version was registered.
    """
    found = get_version(client, name, version)
    digest = package_digest(found)
    package = _download(client, found, "", directory)
    for cache in package.rglob("__pycache__"):  # whoever loads a model from a local store leaves some there
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
        # Not by `uri`, which MLflow looks up in the environment's registry, whatever the client's is.
        source = f"{location}/{path}".rstrip("/")
        return Path(download_artifacts(source, dst_path=str(directory), tracking_uri=client.tracking_uri))
    except (MlflowException, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the files of {uri} cannot be fetched: {reason}; look after the artifact store") from error
