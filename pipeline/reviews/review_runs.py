"""Keep reviews in MLflow: a run for each pair of candidate and champion, with the report and the verdict.

The runs are in an experiment of the reviewers, `<model> reviews`. So people who train models do not need the right to
write a verdict. The tags and the description of a version are only copies of what the run says.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag, SourceType
from mlflow.entities import Run as StoredRun
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils import mlflow_tags

from ..plumbing.artifacts import experiment_option
from ..plumbing.tracking.record import now
from ..plumbing.tracking.store import experiment_id, store_lock
from ..registry.card import code_span
from ..registry.versions import DIFFERENCE_TAG, PACKAGE_TAG, VERDICT_TAG, identify
from .description import verdict_sentence, write_description
from .pages import run_path, version_path
from .review import Review

NO_CHAMPION = "baselines"  # stands for a champion's version if there is no champion
REPORT, DATA = "report.html", "review.json"  # artifacts of the run


@dataclass(frozen=True)
class RecordedReview:
    """The result of a review, as recorded in its run."""

    run_id: str
    verdict: str  # as in Review
    compared_with: str  # number of the champion, or NO_CHAMPION
    opponent: str  # identity of the champion, or NO_CHAMPION
    files: str  # digest of the candidate's files, see files_digest
    gates: Mapping[str, Any]  # the settings of the gates in this review
    test_sets: Mapping[str, str]  # name -> digest
    failed: str  # names of the gates that failed
    by: str
    at: str

    @property
    def is_pass(self) -> bool:
        return self.verdict == "pass"


@dataclass(frozen=True)
class ReviewRuns:
    """The reviews of candidates for one registered model, which has the champion."""

    client: MlflowClient
    model: str
    build: Path

    @property
    def experiment(self) -> str:
        return f"{self.model} reviews"

    def check(self) -> None:
        """Raise UserError if the experiment of the reviews was deleted, so that a review could not be kept."""
        if self.client.get_experiment_by_name(self.experiment):
            experiment_id(self.client, self.experiment, self.build)

    def find(self, candidate: ModelVersion) -> list[RecordedReview]:
        """Return the reviews of a candidate, one for each champion that it was compared with, the latest first.

        Raise UserError if the experiment of the reviews was deleted.
        """
        if self.client.get_experiment_by_name(self.experiment) is None:
            return []
        experiment = experiment_id(self.client, self.experiment, self.build)
        runs = self.client.search_runs([experiment], _of(candidate))
        ended = [verdict for run in runs if (verdict := _verdict(run))]
        return sorted(ended, key=lambda verdict: verdict.at, reverse=True)

    def keep(self, candidate: ModelVersion, champion: ModelVersion | None, review: Review, page: str) -> RecordedReview:
        """Write a review and its report into the run of the pair, replacing an earlier one. Write the verdict last."""
        run = self._run(candidate, champion)
        run_id, tags = run.info.run_id, run.data.tags
        if "review" in tags:
            self.client.delete_tag(run_id, "review")  # no verdict until the new one is written
        with tempfile.TemporaryDirectory() as scratch:
            for name, text in {REPORT: page, DATA: review.to_json()}.items():
                (Path(scratch) / name).write_text(text, encoding="utf-8")
            self.client.log_artifacts(run_id, scratch)
        # A repeated review with equal results adds no metrics. Of several values, MLflow shows the latest one, and of
        # those with equal times the largest.
        known, time = run.data.metrics, now()
        metrics = [Metric(key, value, time, 0) for key, value in _metrics(review).items() if known.get(key) != value]
        self.client.log_batch(run_id, metrics=metrics)
        told = {
            "reviewed_by": review.provenance.reviewer,
            "reviewed_at": review.provenance.time,
            "failed_gates": ", ".join(gate.name for gate in review.gates if gate.blocks),
            "files": files_digest(candidate),
            "review_test_set_digests": json.dumps(review.provenance.test_sets),
            "review_gates": json.dumps(review.provenance.settings["gates"]),
        } | _about(run, candidate, review)
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in told.items()])
        self.client.set_tag(run_id, "review", review.verdict)
        self.client.set_terminated(run_id)
        verdict = _verdict(self.client.get_run(run_id))
        assert verdict
        return verdict

    def show(self, verdict: RecordedReview, version: ModelVersion) -> None:
        """Copy the result of a review into a version's tags and into its description, above its model card."""
        run, name, number = self.client.get_run(verdict.run_id), version.name, str(version.version)
        with tempfile.TemporaryDirectory() as scratch:
            text = Path(self.client.download_artifacts(verdict.run_id, DATA, scratch)).read_text("utf-8")
        review = Review.from_json(text)
        for key, value in _shown(verdict, review).items():
            self.client.set_model_version_tag(name, number, key, value)
        report = f"#/{run_path(run.info.experiment_id, verdict.run_id, REPORT)}"  # a page of the same server
        self.client.update_model_version(name, number, write_description(review, report))

    def _run(self, candidate: ModelVersion, champion: ModelVersion | None) -> StoredRun:
        """Return the run of a pair. Make the run if this is the first review of the pair."""
        description = (
            f"make review, for the model {self.model}: a run for each pair of candidate and champion, with its report "
            f"({REPORT}); make promote reads them"
        )
        experiment = experiment_id(self.client, self.experiment, self.build, description)
        opponent = identify(champion).key if champion else NO_CHAMPION
        with store_lock(self.build):
            for run in self.client.search_runs([experiment], f"{_of(candidate)} and tags.opponent_id = '{opponent}'"):
                return run
            compared_with = str(champion.version) if champion else NO_CHAMPION
            title = f"version {candidate.version} against {_opponent(compared_with)}"
            tags = {"candidate": f"{candidate.name}/{candidate.version}", "candidate_id": _key(candidate)}
            tags |= {"compared_with": compared_with, "opponent_id": opponent}
            return self.client.create_run(experiment, tags=tags, run_name=title)


def files_digest(version: ModelVersion) -> str:
    """Return the digest of all files of a version's package, from the version's tag; empty if there is no such tag."""
    return version.tags.get(PACKAGE_TAG, "")


def _key(version: ModelVersion) -> str:
    return f"{version.name}/{identify(version).key}"


def _of(candidate: ModelVersion) -> str:
    return f"tags.candidate_id = '{_key(candidate)}'"


def _opponent(compared_with: str) -> str:
    return compared_with if compared_with == NO_CHAMPION else f"version {compared_with}"


def _about(run: StoredRun, candidate: ModelVersion, review: Review) -> dict[str, str]:
    """Return MLflow's own tags of a review, which its page shows as author, source and description."""
    option = experiment_option(review.provenance.experiment)
    report = f"#/{run_path(run.info.experiment_id, run.info.run_id, REPORT)}"  # in the same server's pages
    version = f"#/{version_path(candidate.name, str(candidate.version))}"
    sentence = verdict_sentence(review, code_span)
    return {
        mlflow_tags.MLFLOW_USER: review.provenance.reviewer,
        mlflow_tags.MLFLOW_SOURCE_NAME: f"make review VERSION={candidate.version}{option}",
        mlflow_tags.MLFLOW_SOURCE_TYPE: SourceType.to_string(SourceType.LOCAL),
        mlflow_tags.MLFLOW_RUN_NOTE: f"Review: {review.verdict}. {sentence}\n\n"
        f"[The whole report]({report}) · [version {candidate.version} of {candidate.name}]({version})\n",
    }


def _shown(verdict: RecordedReview, review: Review) -> dict[str, str]:
    """Return the tags of a reviewed version: the verdict, and the difference in BLEU on the worst test set."""
    opponent = _opponent(verdict.compared_with)
    failed = f" ({verdict.failed})" if verdict.failed else ""
    tags = {VERDICT_TAG: f"{verdict.verdict} against {opponent}{failed}", DIFFERENCE_TAG: "not compared"}
    if review.comparisons:
        worst = min(review.comparisons, key=lambda comparison: comparison.differences["bleu"].points)
        difference = worst.differences["bleu"]
        limits = f" [{difference.limits[0]:+.1f}, {difference.limits[1]:+.1f}]" if difference.limits else ""
        tags[DIFFERENCE_TAG] = f"{difference.points:+.1f} BLEU{limits} on {worst.test_set}"
    return tags


def _metrics(review: Review) -> dict[str, float]:
    """Return the scores and differences. Times are left out, because they change when a review is repeated."""
    found: dict[str, float] = {}
    for comparison in review.comparisons:
        for system, scores in comparison.scores.items():
            found[f"{comparison.test_set}/{system}/bleu"] = scores.bleu
            found[f"{comparison.test_set}/{system}/chrf"] = scores.chrf
        for metric, difference in comparison.differences.items():
            found[f"{comparison.test_set}/difference/{metric}"] = round(difference.points, 2)
            if difference.limits is not None:
                found[f"{comparison.test_set}/lower_limit/{metric}"] = round(difference.limits[0], 2)
    return found


def _verdict(run: StoredRun) -> RecordedReview | None:
    """Return the result of a review; None if the review was interrupted, or if its tags make no sense after an edit."""
    tags = run.data.tags
    try:
        return RecordedReview(
            run_id=run.info.run_id,
            verdict=tags["review"],
            compared_with=tags["compared_with"],
            opponent=tags["opponent_id"],
            files=tags["files"],
            gates=json.loads(tags["review_gates"]),
            test_sets=json.loads(tags["review_test_set_digests"]),
            failed=tags["failed_gates"],
            by=tags["reviewed_by"],
            at=tags["reviewed_at"],
        )
    except (KeyError, ValueError):
        return None
