"""Fetch the files of a registered version, and those of the run that made it, and check each of them.

The version has a tag with the digest of its package's record (registry/package_record.py). The record holds the
digests of the package's files, of the manifests, of the test sets and of the fingerprints of the training sentences. A
file that does not match its digest is refused.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from ..data.facts import CorpusFacts
from ..plumbing.artifacts import Artifact, Manifest, experiment_option, open_artifact, sha256_of
from ..plumbing.errors import UserError
from ..plumbing.facts import Facts, mistake_in
from ..plumbing.tracking.record import flatten
from ..registry.package_record import PackageRecord
from ..registry.registration import evaluation_path, training_sentences_path
from ..registry.versions import EXPERIMENT, fetch, fetch_record
from ..scoring.facts import EvaluationFacts
from ..training.facts import ModelFacts


@dataclass(frozen=True)
class VersionFiles:
    """A registered version. Its files are fetched into `directory` when they are needed for the first time."""

    client: MlflowClient
    version: ModelVersion
    directory: Path

    def fetch_all(self) -> None:
        """Fetch and check every part now. Raise UserError for a part that is missing or was changed."""
        _ = self.evaluation, self.training_sentences, self.corpus, self.model, self.package

    @property
    def name(self) -> str:
        return f"version {self.version.version} of {self.version.name}"

    @cached_property
    def record(self) -> PackageRecord:
        """The record of what the version was made from, with the digests of its parts."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return fetch_record(self.client, self.version, self.directory)

    @property
    def languages(self) -> tuple[str, str]:
        """The codes of source and target language."""
        return self.record.source_language, self.record.target_language

    @cached_property
    def package(self) -> Path:
        """The directory of the package, with every file as it was registered."""
        directory = self.directory / "package"
        directory.mkdir(parents=True)
        return fetch(self.client, self.version.name, int(self.version.version), directory)

    @property
    def size_bytes(self) -> int:
        """The size of all files of the package together."""
        return sum(path.stat().st_size for path in self.package.rglob("*") if path.is_file())

    @cached_property
    def corpus(self) -> Artifact:
        """The corpus that the version was trained on. It has only the manifest: the corpus is not in the run."""
        return self._manifest("corpus", self.record.corpus, CorpusFacts)

    @cached_property
    def model(self) -> Artifact:
        """The trained model. It has only the manifest."""
        return self._manifest("model", self.record.model, ModelFacts)

    @cached_property
    def run(self) -> Run:
        """The MLflow run of the version's training."""
        return self.client.get_run(str(self.version.run_id))

    @property
    def settings(self) -> dict[str, str]:
        """The settings of all stages up to evaluation, such as `train.epochs`, as texts."""
        return dict(self.run.data.params) | flatten(self.evaluation.stamp["params"])

    @cached_property
    def evaluation(self) -> Artifact:
        """The test sets of the version's run, with the translations of the baselines."""
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
        """The file with the fingerprints of the training sentences (see data/fingerprints.py)."""
        digest = self.record.training_sentences
        path = training_sentences_path(digest)
        file = self._download(path)
        if sha256_of(file) != digest:
            raise UserError(self._changed(path))
        return file

    def _manifest(self, name: str, digest: str, facts: type[Facts]) -> Artifact:
        """Return an artifact with only its manifest, which is in the run. Raise UserError if its digest is another."""
        path = f"manifests/{name}.json"
        file = self._download(path)
        try:
            manifest = Manifest.of(json.loads(file.read_bytes()))
        except ValueError:
            raise UserError(self._changed(path)) from None
        if manifest.digest != digest:
            raise UserError(self._changed(path))
        try:
            facts.model_validate(manifest.facts)
        except ValidationError as error:
            raise UserError(self._other_pipeline(path, error, "make train register")) from None
        return Artifact(file, manifest, "train")

    def _download(self, path: str) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            return Path(self.client.download_artifacts(str(self.version.run_id), path, str(self.directory)))
        except (MlflowException, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"{path} of run {self.version.run_id}, which made {self.name}, cannot be fetched: {reason}; if the "
                f"artifact store was moved, move it back; to upload the file again, run: make register{self._again}"
            ) from error

    @property
    def _again(self) -> str:
        """Return ` EXP=name` for the commands in messages, or an empty string."""
        return experiment_option(self.version.tags.get(EXPERIMENT, "default"))

    def _other_pipeline(self, path: str, error: ValidationError, command: str) -> str:
        return (
            f"{path} of run {self.version.run_id}, which made {self.name}, was written by another version of this "
            f"pipeline ({mistake_in(error)}); register the model again: {command}{self._again}"
        )

    def _changed(self, path: str) -> str:
        return (
            f"{path} of run {self.version.run_id} was changed after {self.name} was registered: if the model was "
            "evaluated again, review the version that was registered from that; if not, find out who changed the "
            "artifact store"
        )
