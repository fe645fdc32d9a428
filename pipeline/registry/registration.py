"""Owns what becomes of a trained model in MLflow: its package, the trial of it, and its version in the registry.

Every step looks for its own result first, by the digest of what is registered: killed at any point and run again, it
goes on where it was and leaves one model and one version. Imports no torch.
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
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_MODEL_VERSIONS

from ..data.facts import CorpusFacts
from ..data.fingerprints import fingerprints
from ..data.splits import read_split
from ..plumbing.artifacts import MANIFEST, Artifact, experiment_option, sha256_of
from ..plumbing.errors import UserError
from ..plumbing.params import RegisterSettings
from ..plumbing.tracking.journal import JOURNAL, read_journal
from ..plumbing.tracking.record import RECORD
from ..plumbing.tracking.replica import replicate
from ..scoring.facts import EvaluationFacts
from ..training.facts import ModelFacts
from .card import write_card, write_short_card
from .packaging import HERE, MODEL_CODE, check_files, code_files, digests, package
from .sandbox.sandboxed_model import load_sandboxed
from .versions import EXPERIMENT, FILES, IDENTITY, all_versions, check_presence, make_model, registered_name

LOGGED_NAME = "translator"  # of the model inside its run
SHOWN = {"bleu", "bleu_interval", "chrf", "chrf_interval"}  # scores that become tags


def evaluation_path(digest: str) -> str:
    """Where an evaluation lies in the run: a model that is evaluated again has several."""
    return f"evaluation/{digest[:8]}"


def training_sentences_path(digest: str) -> str:
    """Where fingerprints (data/fingerprints.py) lie in the run: keys that are made anew leave the old ones in place."""
    return f"training_sentences/{digest[:8]}.npz"


@dataclass(frozen=True)
class Registration:
    """A finished training and what was made of it, on its way into the registry."""

    client: MlflowClient
    settings: RegisterSettings
    corpus: Artifact
    model: Artifact
    evaluation: Artifact

    @property
    def model_name(self) -> str:
        """The registered model's name, with the languages filled in."""
        facts = CorpusFacts.of(self.corpus)
        return registered_name(self.settings.model_name, facts.source_language, facts.target_language)

    @property
    def experiment(self) -> str:
        return self.model.directory.parent.name

    @cached_property
    def identity(self) -> str:
        """Names what is registered: the same artifacts and code under the same name are the same version."""
        parts = [self.experiment, self.model_name, self.corpus.digest, self.model.digest, self.evaluation.digest]
        parts += [sha256_of(file) for file in (*code_files(), HERE / MODEL_CODE)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def run(self) -> StoredRun:
        """The run of the training, brought up to date: MLflow may have missed a part of it, or all."""
        directory = self.model.path(RECORD).parent
        return self.client.get_run(replicate(self.client, directory.parents[1], directory))

    def complete_run(self) -> None:
        """Put the evaluation into the run, the manifests of all that led to it, and what tells a test set's leaks."""
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
        """Upload the package as a model of the run, with its scores; returns the model's id."""
        experiment, filter_string = (self.run.info.experiment_id, f"tags.{IDENTITY} = '{self.identity}'")
        for logged in self.client.search_logged_models([experiment], filter_string):
            model_id, is_ready = str(logged.model_id), logged.status == LoggedModelStatus.READY
            if is_ready and (self._find_version(model_id) or self.client.list_logged_model_artifacts(model_id)):
                return model_id
            # Its upload was interrupted; or its files are lost, and somebody has deleted its version for that.
            self.client.delete_logged_model(model_id)
        run_id, step = self.run.info.run_id, ModelFacts.of(self.model).steps
        with tempfile.TemporaryDirectory() as scratch:
            card = write_card(self.corpus, self.model, self.evaluation, self._commit)
            package(Path(scratch), self.model, card, self._example())
            directory = Path(scratch) / "package"
            tags = {IDENTITY: self.identity, FILES: json.dumps(digests(directory))}
            logged = self.client.create_logged_model(experiment, LOGGED_NAME, run_id, tags=tags)
            self.client.log_model_artifacts(logged.model_id, str(directory))
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])
        time = self._end()
        scores = [Metric(key, value, time, step, model_id=logged.model_id) for key, value in self.scores().items()]
        self.client.log_batch(run_id, metrics=scores)
        self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        return str(logged.model_id)

    def try_out(self, model_id: str) -> None:
        """Fetch the package from the store and load it in a fresh process: it must translate as it was evaluated."""
        examples = EvaluationFacts.of(self.evaluation).examples
        sources = [example.source for example in examples]
        logged = self.client.get_logged_model(model_id)
        check_presence(f"models:/{model_id}", logged.artifact_location, experiment_option(self.experiment))
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(download_artifacts(f"models:/{model_id}", dst_path=scratch))
            recorded = json.loads(logged.tags[FILES])
            check_files(directory, recorded, f"models:/{model_id}")
            with load_sandboxed(directory, "the packaged model") as model:
                given, _ = model.translate(sources)
        for example, translation in zip(examples, given, strict=True):
            if translation.split() != example.hypothesis.split():
                raise UserError(
                    f"the packaged model is not registered: it translates {example.source!r} as {translation!r}, "
                    f"but was evaluated with {example.hypothesis!r}; remove {self.evaluation.directory} and retry"
                )

    def version(self, model_id: str) -> ModelVersion:
        """Return the version of the model in the registry: made if it is not there, with its tags if it lost some."""
        tags = self._tags() | {FILES: self.client.get_logged_model(model_id).tags[FILES]}
        made = self._find_version(model_id) or self._make_version(model_id, tags)
        for key, value in tags.items():
            if made.tags.get(key) != value:
                self.client.set_model_version_tag(made.name, str(made.version), key, value)
        link = json.dumps([{"name": made.name, "version": made.version}])
        self.client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: link})  # shown on the model's page
        return made

    def others(self) -> list[str]:
        """Return the experiments that have versions of the same registered model."""
        found = {v.tags.get(EXPERIMENT, self.experiment) for v in all_versions(self.client, self.model_name)}
        return sorted(found - {self.experiment})

    def scores(self) -> dict[str, float]:
        """All scores of the evaluation: `test/beam/bleu`, one a test set, system and metric."""
        return {
            f"{test_set}/{system}/{metric}": float(value)
            for test_set, results in EvaluationFacts.of(self.evaluation).test_sets.items()
            for system, scores in results.systems.items()
            for metric, value in scores
            if isinstance(value, float)
        }

    def _find_version(self, model_id: str) -> ModelVersion | None:
        """Find the version by what nobody can edit: its model, and the run of a training that came to this model.

        A training that was repeated and came to the same model has a run of its own.
        """
        filter_string = f"name = '{self.model_name}' and source_path = 'models:/{model_id}'"
        versions = self.client.search_model_versions(filter_string)
        runs = {self.run.info.run_id, self.client.get_logged_model(model_id).source_run_id}
        return next((version for version in versions if version.run_id in runs), None)

    def _make_version(self, model_id: str, tags: dict[str, str]) -> ModelVersion:
        make_model(self.client, self.model_name)
        description = write_short_card(self.corpus, self.model, self.evaluation, self._commit)
        run_id = self.run.info.run_id
        return self.client.create_model_version(
            self.model_name, f"models:/{model_id}", run_id, tags=tags, description=description, model_id=model_id
        )

    def _tags(self) -> dict[str, str]:
        """What a reviewer, and `make review`, ask of a version: its scores, and the digests of all that led to it."""
        facts = CorpusFacts.of(self.corpus)
        test_set, results = next(iter(EvaluationFacts.of(self.evaluation).test_sets.items()))
        scores = results.systems["beam"].model_dump(mode="json", include=SHOWN)
        return {
            IDENTITY: self.identity,
            EXPERIMENT: self.experiment,
            "source_language": facts.source_language,
            "target_language": facts.target_language,
            "test_set": test_set,
            **{metric: json.dumps(score) for metric, score in scores.items()},
            "corpus": self.corpus.digest,
            "model": self.model.digest,
            "evaluation": self.evaluation.digest,
            "training_sentences": self._fingerprints_digest,
            "commit": self._commit or "",
        }

    @cached_property
    def _fingerprints(self) -> bytes:
        return fingerprints(*read_split(self.corpus.path("train.parquet")))

    @property
    def _fingerprints_digest(self) -> str:
        return hashlib.sha256(self._fingerprints).hexdigest()

    @property
    def _commit(self) -> str | None:
        return self.run.data.tags.get(MLFLOW_GIT_COMMIT)

    def _params(self) -> dict[str, Any]:
        """What a request may set, and its defaults: as the model was evaluated."""
        settings = self.evaluation.stamp["params"]["evaluate"]
        decoding = {name: settings[name] for name in ("beam_size", "length_penalty")}
        return decoding | {"n_best": 0, "attention": False}

    def _example(self) -> tuple[list[str], dict[str, Any]]:
        return [example.source for example in EvaluationFacts.of(self.evaluation).examples[:2]], self._params()

    def _end(self) -> int:
        """When training measured last, in Unix milliseconds: a time that does not change if this is done again."""
        return max(entry.time for entry in read_journal(self.model.path(JOURNAL)))
