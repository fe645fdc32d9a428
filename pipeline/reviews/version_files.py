"""Fetch what the registry and its run hold on a version into a directory, each part as it was registered.

The version's tag protects the record of its package (registry/package_record.py), which has the digests of everything
else: the package's files, the manifests, the test sets and the training sentences.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from ..plumbing.artifacts import Artifact, Manifest, experiment_option, open_artifact, sha256_of
from ..plumbing.errors import UserError
from ..plumbing.facts import mistake_in
from ..registry.package_record import PackageRecord
from ..registry.registration import evaluation_path, training_sentences_path
from ..registry.versions import EXPERIMENT, fetch, fetch_record
from ..scoring.facts import EvaluationFacts
from ..training.facts import ModelFacts


@dataclass(frozen=True)
class VersionFiles:
    """A version, and where its parts are fetched to when they are asked for."""

    client: MlflowClient
    version: ModelVersion
    directory: Path

    @property
    def name(self) -> str:
        return f"version {self.version.version} of {self.version.name}"

    @cached_property
    def record(self) -> PackageRecord:
        """What the version was made from."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return fetch_record(self.client, self.version, self.directory)

    @property
    def languages(self) -> tuple[str, str]:
        """The codes of source and target."""
        return self.record.source_language, self.record.target_language

    @cached_property
    def package(self) -> Path:
        """The package, every file as it was registered."""
        directory = self.directory / "package"
        directory.mkdir(parents=True)
        return fetch(self.client, self.version.name, int(self.version.version), directory)

    @property
    def size_bytes(self) -> int:
        """Of all files of the package."""
        return sum(path.stat().st_size for path in self.package.rglob("*") if path.is_file())

    @cached_property
    def model_facts(self) -> ModelFacts:
        """What training recorded of the model."""
        path = "manifests/model.json"
        content = self._download(path).read_bytes()
        try:
            manifest = Manifest.of(json.loads(content))
        except ValueError:
            raise UserError(self._changed(path)) from None
        if manifest.digest != self.record.model:
            raise UserError(self._changed(path))
        try:
            return ModelFacts.model_validate(manifest.facts)
        except ValidationError as error:
            raise UserError(self._other_pipeline(path, error, "make train register")) from None

    @cached_property
    def evaluation(self) -> Artifact:
        """The test sets of the version's run, with what the baselines made of them."""
        directory = self._download(evaluation_path(self.record.evaluation))
        try:
            artifact = open_artifact(directory, "evaluate")
        except UserError as error:
            raise UserError(f"{self._changed('evaluation')}: {str(error).partition(';')[0]}") from None
        if artifact.digest != self.record.evaluation:
            raise UserError(self._changed("evaluation"))
        try:
            EvaluationFacts.model_validate(artifact.manifest.facts)
        except ValidationError as error:
            raise UserError(self._other_pipeline("evaluation", error, "make evaluate register")) from None
        return artifact

    @cached_property
    def training_sentences(self) -> Path:
        """Fingerprints of what the version was trained on, see data/fingerprints.py."""
        path = training_sentences_path(self.record.training_sentences)
        file = self._download(path)
        if sha256_of(file) != self.record.training_sentences:
            raise UserError(self._changed(path))
        return file

    def _download(self, path: str) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            return Path(self.client.download_artifacts(str(self.version.run_id), path, str(self.directory)))
        except (MlflowException, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            again = experiment_option(self.version.tags.get(EXPERIMENT, "default"))
            raise UserError(
                f"{path} of run {self.version.run_id}, of which {self.name} was made, cannot be fetched: {reason}; if "
                f"the artifact store was moved, move it back; to upload this again, run: make register{again}"
            ) from error

    def _other_pipeline(self, path: str, error: ValidationError, command: str) -> str:
        again = command + experiment_option(self.version.tags.get(EXPERIMENT, "default"))
        return (
            f"{path} of run {self.version.run_id}, of which {self.name} was made, was written by another version of "
            f"this pipeline ({mistake_in(error)}); register the model again: {again}"
        )

    def _changed(self, path: str) -> str:
        return (
            f"{path} of run {self.version.run_id} is not what {self.name} was registered with: if the model was "
            "evaluated again, review the version of that; if not, find out who changed the artifact store"
        )
