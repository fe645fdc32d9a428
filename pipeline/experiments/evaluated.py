"""Open what the stages up to evaluate made of an experiment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..plumbing.artifacts import Artifact, Manifest, experiment_option, open_artifact, read_manifest
from ..plumbing.command import TARGETS
from ..plumbing.errors import UserError
from ..plumbing.tracking.record import flatten, read_record

MADE = ("corpus", "tokenizer", "encoded", "model")  # before the evaluation


@dataclass(frozen=True)
class Evaluated:
    """An experiment with scores, and what they were made of. Artifacts are by directory name: corpus, model, ..."""

    name: str
    manifests: Mapping[str, Manifest]
    evaluation: Artifact
    commit: str | None  # of this project, when training began

    @property
    def settings(self) -> dict[str, str]:
        """The settings that it was made with, as `train.learning_rate`: text."""
        params: dict[str, Any] = {}
        for manifest in (*self.manifests.values(), self.evaluation.manifest):
            params |= manifest.stamp.get("params", {})
        return flatten(params)

    @property
    def test_sets(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.evaluation.facts["test_sets"]
        return found

    def lines(self, test_set: str, part: str) -> list[str]:
        """The lines of a test set: its `source`, its `reference`, or the `beam` search's translations."""
        text = self.evaluation.path(f"{test_set}.{part}.txt").read_text(encoding="utf-8")
        return text.removesuffix("\n").split("\n")


def open_evaluated(build: Path, name: str) -> Evaluated:
    """Open an experiment; UserError, with what to type, if it is not evaluated or if its evaluation is out of date."""
    directory = build / name
    evaluation = open_artifact(directory / "evaluation", "evaluate")
    manifests = {made: read_manifest(directory / made, TARGETS[made]) for made in MADE}
    for maker, inputs in {**{m: manifests[m].inputs for m in MADE}, "evaluation": evaluation.inputs}.items():
        for made, digest in inputs.items():
            if manifests[made].digest != digest:
                raise UserError(
                    f"{directory / maker} was made from another {made} than {directory / made}; "
                    f"run: make evaluate{experiment_option(name)}"
                )
    return Evaluated(name, manifests, evaluation, read_record(directory / "model").commit)
