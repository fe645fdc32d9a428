"""Open the artifacts of an experiment that has been evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.facts import CorpusFacts
from ..plumbing.artifacts import Artifact, experiment_option, open_artifact, read_manifest
from ..plumbing.command import TARGETS
from ..plumbing.errors import UserError
from ..plumbing.tracking.record import flatten, read_record
from ..scoring.facts import EvaluationFacts, ScoredTestSet
from ..training.facts import ModelFacts

MADE = ("corpus", "tokenizer", "encoded", "model")  # artifacts that are made before the evaluation


@dataclass(frozen=True)
class Evaluated:
    """An experiment with scores, and the artifacts that the scores come from, by directory name: corpus, model, ...

    Only the files of the evaluation were checked. The other artifacts are large, so only their manifests were read.
    """

    name: str
    artifacts: Mapping[str, Artifact]

    @property
    def evaluation(self) -> Artifact:
        return self.artifacts["evaluation"]

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the experiment: `train.learning_rate` -> value as text."""
        params: dict[str, Any] = {}
        for artifact in self.artifacts.values():
            params |= artifact.stamp.get("params", {})
        return flatten(params)

    @property
    def commit(self) -> str | None:
        """The commit of this project at the time when training began."""
        return read_record(self.artifacts["model"].directory).commit

    @cached_property
    def corpus_facts(self) -> CorpusFacts:
        return CorpusFacts.of(self.artifacts["corpus"])

    @cached_property
    def model_facts(self) -> ModelFacts:
        return ModelFacts.of(self.artifacts["model"])

    @cached_property
    def test_sets(self) -> dict[str, ScoredTestSet]:
        return EvaluationFacts.of(self.evaluation).test_sets

    def lines(self, test_set: str, part: str) -> list[str]:
        """Return the lines of a test set: its `source`, its `reference`, or the `beam` search's translations."""
        text = self.evaluation.path(f"{test_set}.{part}.txt").read_text(encoding="utf-8")
        return text.removesuffix("\n").split("\n")


def open_evaluated(build: Path, name: str) -> Evaluated:
    """Open an experiment. Raise UserError, with the command to run, if its evaluation is missing or out of date."""
    directory = build / name
    evaluation = open_artifact(directory / "evaluation", "evaluate")
    artifacts = {
        made: Artifact(directory / made, read_manifest(directory / made, TARGETS[made]), TARGETS[made]) for made in MADE
    }
    artifacts["evaluation"] = evaluation
    for maker, artifact in artifacts.items():
        for made, digest in artifact.inputs.items():
            if artifacts[made].digest != digest:
                raise UserError(
                    f"{directory / maker} was made from another {made} than {directory / made}; "
                    f"run: make evaluate{experiment_option(name)}"
                )
    return Evaluated(name, artifacts)
