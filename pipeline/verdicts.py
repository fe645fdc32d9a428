"""Owns where the verdicts of reviews are kept in MLflow: a run for each pair of candidate and champion.

The runs are in an experiment of the reviewers, `<model> reviews`: who may train need not be able to write a verdict.
What a version shows of its review is a copy. How a verdict is reached: see review.py.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun
from mlflow.entities.model_registry import ModelVersion

from .store import alone, experiment_id
from .versions import FILES

NONE = "none"  # in place of a champion's version: there is none


@dataclass(frozen=True)
class Verdict:
    """What a review came to."""

    run_id: str
    is_pass: bool
    compared_with: str  # version of the champion, or NONE
    files: str  # digest of the candidate's files, see files_digest
    failed: str  # names of the gates that failed
    by: str
    at: str


def files_digest(version: ModelVersion) -> str:
    """One digest of all files of a version's package, by what its tag says."""
    return hashlib.sha256(version.tags[FILES].encode()).hexdigest()


def find_verdicts(client: MlflowClient, model: str, candidate: ModelVersion) -> list[Verdict]:
    """The verdicts on a candidate, one for each champion that it was compared with, the last review first."""
    experiment = client.get_experiment_by_name(experiment_of(model))
    if experiment is None:
        return []
    filter_string = f"tags.candidate = '{_name(candidate)}' and tags.review IN ('pass', 'fail')"
    runs = client.search_runs([experiment.experiment_id], filter_string)
    return sorted((_verdict(run) for run in runs), key=lambda verdict: verdict.at, reverse=True)


def review_run(client: MlflowClient, build: Path, model: str, candidate: ModelVersion, compared_with: str) -> StoredRun:
    """The run for the review of a candidate against a champion (a version, or NONE): made once, used again."""
    experiment = experiment_id(client, experiment_of(model), build)
    with alone(build):
        filter_string = f"tags.candidate = '{_name(candidate)}' and tags.compared_with = '{compared_with}'"
        for run in client.search_runs([experiment], filter_string):
            return run
        title = f"version {candidate.version} against {compared_with}"
        tags = {"candidate": _name(candidate), "compared_with": compared_with}
        return client.create_run(experiment, tags=tags, run_name=title)


def experiment_of(model: str) -> str:
    return f"{model} reviews"


def _name(version: ModelVersion) -> str:
    return f"{version.name}/{version.version}"


def _verdict(run: StoredRun) -> Verdict:
    tags = run.data.tags
    return Verdict(
        run_id=run.info.run_id,
        is_pass=tags["review"] == "pass",
        compared_with=tags["compared_with"],
        files=tags["files"],
        failed=tags["failed_gates"],
        by=tags["reviewed_by"],
        at=tags["reviewed_at"],
    )
