"""Owns where reviews are kept in MLflow: a run for each pair of candidate and champion, with the report and verdict.

The runs are in an experiment of the reviewers, `<model> reviews`: who may train need not be able to write a verdict.
What a version shows of its review is a copy. How a verdict is reached: see reviewer.py.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.entities import Run as StoredRun
from mlflow.entities.model_registry import ModelVersion

from ..plumbing.tracking.record import now
from ..plumbing.tracking.store import alone, experiment_id
from ..registry.versions import FILES
from .description import write_description
from .review import Review

BASELINES = "baselines"  # in place of a champion's version, where there is none
REPORT, DATA = "report.html", "review.json"  # artifacts of the run
SHOWN = ("compared_with", "reviewed_by", "reviewed_at", "failed_gates", "files", "review_test_sets", "review")
SCORE = "review/"  # begins the tags of a version that tell how it differs from its opponent


@dataclass(frozen=True)
class Verdict:
    """What a review came to."""

    run_id: str
    is_pass: bool
    compared_with: str  # version of the champion, or BASELINES
    files: str  # digest of the candidate's files, see files_digest
    failed: str  # names of the gates that failed
    by: str
    at: str


@dataclass(frozen=True)
class Verdicts:
    """The reviews of candidates for one model, the one that has the champion."""

    client: MlflowClient
    model: str
    build: Path

    @property
    def experiment(self) -> str:
        return f"{self.model} reviews"

    def find(self, candidate: ModelVersion) -> list[Verdict]:
        """The verdicts on a candidate, one for each champion that it was compared with, the last review first."""
        experiment = self.client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return []
        runs = self.client.search_runs([experiment.experiment_id], f"tags.candidate = '{_name(candidate)}'")
        ended = [_verdict(run) for run in runs if "review" in run.data.tags]
        return sorted(ended, key=lambda verdict: verdict.at, reverse=True)

    def keep(self, candidate: ModelVersion, compared_with: str, review: Review, page: str) -> Verdict:
        """Put a review and its page into its run, in place of an earlier one of the pair; the verdict comes last."""
        run = self._run(candidate, compared_with)
        run_id, tags = run.info.run_id, run.data.tags
        if "review" in tags:
            self.client.delete_tag(run_id, "review")  # from here on until the end there is none
        with tempfile.TemporaryDirectory() as scratch:
            for name, text in {REPORT: page, DATA: review.to_json()}.items():
                (Path(scratch) / name).write_text(text, encoding="utf-8")
            self.client.log_artifacts(run_id, scratch)
        # A review that comes to the same adds nothing. Of two values MLflow shows the later; of one time, the larger.
        known, time = run.data.metrics, now()
        metrics = [Metric(key, value, time, 0) for key, value in _metrics(review).items() if known.get(key) != value]
        self.client.log_batch(run_id, metrics=metrics)
        told = {
            "reviewed_by": review.provenance.reviewer,
            "reviewed_at": review.provenance.time,
            "failed_gates": ", ".join(gate.name for gate in review.gates if gate.blocks),
            "files": files_digest(candidate),
            "review_test_sets": json.dumps({c.test_set: c.sentences for c in review.comparisons}),
        }
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in told.items()])
        self.client.set_tag(run_id, "review", review.verdict)
        self.client.set_terminated(run_id)
        return _verdict(self.client.get_run(run_id))

    def show(self, verdict: Verdict, version: ModelVersion) -> None:
        """Let a version tell what its review found: tags, and the description on its page."""
        run, name, number = self.client.get_run(verdict.run_id), version.name, str(version.version)
        with tempfile.TemporaryDirectory() as scratch:
            text = Path(self.client.download_artifacts(verdict.run_id, DATA, scratch)).read_text("utf-8")
        review = Review.from_json(text)
        found = {key: value for key, value in _metrics(review).items() if key.split("/")[-2] in ("difference", "p")}
        tags = {f"{SCORE}{key}": f"{value:.6g}" for key, value in found.items()}
        for key in version.tags:
            if key.startswith(SCORE) and key not in tags:  # of a test set that an earlier review looked at
                self.client.delete_model_version_tag(name, number, key)
        for key, value in (tags | {key: run.data.tags[key] for key in SHOWN} | {"review_run": verdict.run_id}).items():
            self.client.set_model_version_tag(name, number, key, value)
        page = f"#/experiments/{run.info.experiment_id}/runs/{verdict.run_id}/artifacts/{REPORT}"
        description = f"{write_description(review)}\n[The whole report]({page})\n"  # opens in MLflow's interface
        self.client.update_model_version(name, number, description)

    def _run(self, candidate: ModelVersion, compared_with: str) -> StoredRun:
        """The run for a pair: made once, used again."""
        experiment = experiment_id(self.client, self.experiment, self.build)
        with alone(self.build):
            filter_string = f"tags.candidate = '{_name(candidate)}' and tags.compared_with = '{compared_with}'"
            for run in self.client.search_runs([experiment], filter_string):
                return run
            title = f"version {candidate.version} against {compared_with}"
            tags = {"candidate": _name(candidate), "compared_with": compared_with}
            return self.client.create_run(experiment, tags=tags, run_name=title)


def files_digest(version: ModelVersion) -> str:
    """One digest of all files of a version's package, by what its tag says."""
    return hashlib.sha256(version.tags[FILES].encode()).hexdigest()


def _name(version: ModelVersion) -> str:
    return f"{version.name}/{version.version}"


def _metrics(review: Review) -> dict[str, float]:
    """What a review measured but for times, which are never the same: comes out equal when it is repeated."""
    found: dict[str, float] = {}
    for comparison in review.comparisons:
        for system, scores in comparison.scores.items():
            found[f"{comparison.test_set}/{system}/bleu"] = scores.bleu
            found[f"{comparison.test_set}/{system}/chrf"] = scores.chrf
        for metric, difference in comparison.differences.items():
            found[f"{comparison.test_set}/difference/{metric}"] = difference.points
            if difference.randomisation_p is not None:
                found[f"{comparison.test_set}/p/{metric}"] = difference.randomisation_p
    return found


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
