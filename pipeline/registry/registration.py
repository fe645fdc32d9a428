"""Register a trained model: package it, test the package, make it a version in MLflow's registry.

Each step first looks for its own result. A digest of artifacts, code and name identifies it. So a killed registration
continues where it was, and leaves only one model and one version. This module does not import torch.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.entities import Run as StoredRun
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils import mlflow_tags

from ..data.facts import CorpusFacts
from ..data.fingerprints import fingerprints
from ..data.splits import batches
from ..plumbing.artifacts import MANIFEST, Artifact, experiment_option, sha256_of
from ..plumbing.errors import UserError
from ..plumbing.params import RegisterSettings
from ..plumbing.tracking.journal import JOURNAL, read_journal
from ..plumbing.tracking.record import RECORD
from ..plumbing.tracking.replica import LONGEST_DIGEST, replicate
from ..scoring.facts import EvaluationFacts
from ..training.facts import ModelFacts
from .card import short_score, write_card, write_model_page, write_short_card
from .package_record import RECORD_FILE, PackageRecord, read_record
from .packaging import MODEL_CODE, REGISTRY, check_files, code_files, digests, package
from .sandbox.sandboxed_model import load_sandboxed
from .versions import (
    BLEU_TAG,
    COMMIT_TAG,
    DATA_TAG,
    EXPERIMENT,
    NOT_REVIEWED,
    PACKAGE_TAG,
    VERDICT_TAG,
    all_versions,
    check_presence,
    make_model,
    registered_name,
)

LOGGED_NAME = "translator"  # of the model inside its run
IDENTITY = "registration"  # tag of the logged model; with it, a registration that was killed finds the model again
REGISTERED_SYSTEM = "beam"  # all scores of this system are logged
COMPARED_SCORES = ("bleu", "chrf")  # the scores that are logged of the other systems
ABOUT_RUN = (mlflow_tags.MLFLOW_USER, mlflow_tags.MLFLOW_SOURCE_NAME, mlflow_tags.MLFLOW_SOURCE_TYPE)


def evaluation_path(digest: str) -> str:
    """Return the path of an evaluation in the run. A model that was evaluated again has several evaluations."""
    return f"evaluation/{digest[:8]}"


def training_sentences_path(digest: str) -> str:
    """Return the path of the fingerprints (data/fingerprints.py) in the run. Those of an older corpus stay there."""
    return f"training_sentences/{digest[:8]}.npz"


@dataclass(frozen=True)
class Registration:
    """A trained model with its corpus and its evaluation, to be registered."""

    client: MlflowClient
    settings: RegisterSettings
    corpus: Artifact
    model: Artifact
    evaluation: Artifact

    @property
    def model_name(self) -> str:
        """Return the registered model's name, with the languages filled in."""
        facts = CorpusFacts.of(self.corpus)
        return registered_name(self.settings.model_name, facts.source_language, facts.target_language)

    @property
    def experiment(self) -> str:
        return self.model.directory.parent.name

    @cached_property
    def identity(self) -> str:
        """Return a digest of the artifacts, the code and the name. Equal digests belong to one version."""
        parts = [self.experiment, self.model_name, self.corpus.digest, self.model.digest, self.evaluation.digest]
        parts += [sha256_of(file) for file in (*code_files(), REGISTRY / MODEL_CODE)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def run(self) -> StoredRun:
        """Return MLflow's run of the training, after sending everything of the run that MLflow does not have yet."""
        directory = self.model.path(RECORD).parent
        return self.client.get_run(replicate(self.client, directory.parents[1], directory))

    def complete_run(self) -> None:
        """Add the evaluation, the manifests and the fingerprints of the training sentences to the run."""
        run_id = self.run.info.run_id
        self.client.log_artifacts(run_id, str(self.evaluation.directory), evaluation_path(self.evaluation.digest))
        for artifact in (self.corpus, self.model, self.evaluation):
            text = (artifact.directory / MANIFEST).read_text(encoding="utf-8")
            self.client.log_text(run_id, text, f"manifests/{artifact.directory.name}.json")
        with tempfile.TemporaryDirectory() as scratch:
            path = training_sentences_path(self._fingerprints_digest)
            file = Path(scratch) / Path(path).name
            file.write_bytes(self._fingerprints)
            self.client.log_artifact(run_id, str(file), str(Path(path).parent))

    def log_model(self) -> str:
        """Upload the package as a logged model of the run, with its scores. Return the model's id."""
        experiment, filter_string = (self.run.info.experiment_id, f"tags.{IDENTITY} = '{self.identity}'")
        for logged in self.client.search_logged_models([experiment], filter_string):
            model_id, is_ready = str(logged.model_id), logged.status == LoggedModelStatus.READY
            if is_ready and (self._find_version(model_id) or self.client.list_logged_model_artifacts(model_id)):
                return model_id
            # Its upload was interrupted, or its files were lost and somebody deleted its version for this reason.
            self.client.delete_logged_model(model_id)
        run_id = self.run.info.run_id
        with tempfile.TemporaryDirectory() as scratch:
            card = write_card(self.corpus, self.model, self.evaluation, self._commit)
            package(Path(scratch), self.model, card, self._example())
            directory = Path(scratch) / "package"
            tags = self._logged_tags() | {PACKAGE_TAG: self._record(digests(directory)).write(directory)}
            params = self.run.data.params  # MLflow shows these as the parameters of the model
            logged = self.client.create_logged_model(experiment, LOGGED_NAME, run_id, tags, params)
            self.client.log_model_artifacts(logged.model_id, str(directory))
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, ModelFacts.of(self.model).steps)])
        self.client.log_batch(run_id, metrics=self._metrics(logged.model_id))
        self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        return str(logged.model_id)

    def try_out(self, model_id: str) -> None:
        """Fetch the package from the store and load it in a fresh process. Raise UserError unless it translates.

        Its translation of an example must be the one in the evaluation.
        """
        examples = EvaluationFacts.of(self.evaluation).examples
        sources = [example.source for example in examples]
        logged = self.client.get_logged_model(model_id)
        check_presence(f"models:/{model_id}", logged.artifact_location, experiment_option(self.experiment))
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(download_artifacts(f"models:/{model_id}", dst_path=scratch))
            record = read_record(directory / RECORD_FILE, logged.tags[PACKAGE_TAG], f"models:/{model_id}")
            check_files(directory, record, f"models:/{model_id}")
            with load_sandboxed(directory, "the packaged model") as model:
                given, _ = model.translate(sources)
        for example, translation in zip(examples, given, strict=True):
            if translation.split() != example.hypothesis.split():
                raise UserError(
                    f"the packaged model is not registered: it translates {example.source!r} as {translation!r}, "
                    f"but was evaluated with {example.hypothesis!r}; remove {self.evaluation.directory} and retry"
                )

    def version(self, model_id: str) -> ModelVersion:
        """Return the model's version in the registry. Make the version if it is missing, and set missing tags."""
        make_model(self.client, self.model_name, write_model_page(self.model_name, experiment_option(self.experiment)))
        tags = self._tags() | {PACKAGE_TAG: self.client.get_logged_model(model_id).tags[PACKAGE_TAG]}
        made = self._find_version(model_id) or self._make_version(model_id, {VERDICT_TAG: NOT_REVIEWED} | tags)
        for key, value in tags.items():
            if made.tags.get(key) != value:
                self.client.set_model_version_tag(made.name, str(made.version), key, value)
        link = json.dumps([{"name": made.name, "version": made.version}])
        self.client.set_logged_model_tags(
            model_id, {mlflow_tags.MLFLOW_MODEL_VERSIONS: link}
        )  # shown on the model's page
        return made

    def others(self) -> list[str]:
        """Return the experiments that have versions of the same registered model."""
        found = {v.tags.get(EXPERIMENT, self.experiment) for v in all_versions(self.client, self.model_name)}
        return sorted(found - {self.experiment})

    def _metrics(self, model_id: str) -> list[Metric]:
        """Return the scores as metrics of the model (`test/beam/bleu`), each linked to its test set."""
        time, step, metrics = self._end(), ModelFacts.of(self.model).steps, []
        for test_set, results in EvaluationFacts.of(self.evaluation).test_sets.items():
            name = CorpusFacts.of(self.corpus).dataset_name(test_set)
            digest = self.corpus.files[f"{test_set}.parquet"]["sha256"][:LONGEST_DIGEST]
            metrics += [
                Metric(f"{test_set}/{system}/{key}", value, time, step, model_id, name, digest)
                for system, scores in results.systems.items()
                for key, value in scores
                if isinstance(value, float) and (system == REGISTERED_SYSTEM or key in COMPARED_SCORES)
            ]
        return metrics

    def _find_version(self, model_id: str) -> ModelVersion | None:
        """Return the version with this model and its run, which nobody can edit; None if there is none.

        The run is the run of this training, or of an earlier training that produced the same model.
        """
        filter_string = f"name = '{self.model_name}' and source_path = 'models:/{model_id}'"
        versions = self.client.search_model_versions(filter_string)
        runs = {self.run.info.run_id, self.client.get_logged_model(model_id).source_run_id}
        return next((version for version in versions if version.run_id in runs), None)

    def _make_version(self, model_id: str, tags: dict[str, str]) -> ModelVersion:
        description = write_short_card(self.corpus, self.model, self.evaluation, self._commit)
        run_id = self.run.info.run_id
        return self.client.create_model_version(
            self.model_name, f"models:/{model_id}", run_id, tags=tags, description=description, model_id=model_id
        )

    def _tags(self) -> dict[str, str]:
        """Return the tags that people read in MLflow's table of versions. A review adds the difference."""
        pairs = CorpusFacts.of(self.corpus).splits["train"]
        name, dash, dirty = (self._commit or "none").partition("-")
        return {
            BLEU_TAG: short_score(self.evaluation),
            DATA_TAG: f"{pairs:,} pairs, corpus {self.corpus.digest[:8]}",
            EXPERIMENT: self.experiment,
            COMMIT_TAG: f"{name[:8]}{dash}{dirty}",
        }

    def _logged_tags(self) -> dict[str, str]:
        """Return the tags of the logged model. MLflow shows some as the model's description, author and source."""
        about = {key: self.run.data.tags[key] for key in ABOUT_RUN if key in self.run.data.tags}
        card = write_short_card(self.corpus, self.model, self.evaluation, self._commit)
        return {IDENTITY: self.identity, mlflow_tags.MLFLOW_RUN_NOTE: card} | about

    def _record(self, files: dict[str, str]) -> PackageRecord:
        facts = CorpusFacts.of(self.corpus)
        return PackageRecord(
            experiment=self.experiment,
            source_language=facts.source_language,
            target_language=facts.target_language,
            commit=self._commit,
            corpus=self.corpus.digest,
            model=self.model.digest,
            evaluation=self.evaluation.digest,
            training_sentences=self._fingerprints_digest,
            files=files,
        )

    @cached_property
    def _fingerprints(self) -> bytes:
        return fingerprints(batches(self.corpus.path("train.parquet")))

    @property
    def _fingerprints_digest(self) -> str:
        return hashlib.sha256(self._fingerprints).hexdigest()

    @property
    def _commit(self) -> str | None:
        return self.run.data.tags.get(mlflow_tags.MLFLOW_GIT_COMMIT)

    def _params(self) -> dict[str, Any]:
        """Return the params that a request may set. Their defaults are the settings of the evaluation."""
        settings = self.evaluation.stamp["params"]["evaluate"]
        decoding = {name: settings[name] for name in ("beam_size", "length_penalty")}
        return decoding | {"n_best": 0, "attention": False}

    def _example(self) -> tuple[list[str], dict[str, Any]]:
        return [example.source for example in EvaluationFacts.of(self.evaluation).examples[:2]], self._params()

    def _end(self) -> int:
        """Return the time of training's last measurement, in Unix milliseconds. A repeated call returns the same."""
        return max(entry.time for entry in read_journal(self.model.path(JOURNAL)))
