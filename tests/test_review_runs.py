"""A pair of candidate and champion has one review. A new one replaces it as a whole, and the version shows it."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.versions import DIFFERENCE_TAG, VERDICT_TAG
from pipeline.reviews.review import AttentionMap, Review
from pipeline.reviews.review_runs import DATA, REPORT, ReviewRuns, files_digest
from tests.registered import FAIL, MODEL, PASS, get
from tests.reviews import better, make_review, report


@pytest.fixture
def review_runs(registry: Path) -> ReviewRuns:
    return ReviewRuns(open_store(registry), MODEL, registry)


@pytest.fixture
def candidate(review_runs: ReviewRuns) -> ModelVersion:
    return get(review_runs.client, 2)


def champion(review_runs: ReviewRuns, version: int) -> ModelVersion:
    return get(review_runs.client, version)


def at(review: Review, time: str) -> Review:
    return replace(review, provenance=replace(review.provenance, time=time))


def worse(review: Review, points: float) -> Review:
    """Return the review with a candidate that has a lower BLEU."""
    (comparison,) = review.comparisons
    scores = dict(comparison.scores)
    scores["candidate"] = replace(scores["candidate"], bleu=scores["candidate"].bleu - points)
    differences = dict(comparison.differences)
    differences["bleu"] = replace(differences["bleu"], points=differences["bleu"].points - points)
    return replace(review, comparisons=[replace(comparison, scores=scores, differences=differences)])


def runs(review_runs: ReviewRuns) -> list[Run]:
    experiment = review_runs.client.get_experiment_by_name(f"{MODEL} reviews")
    assert experiment
    return list(review_runs.client.search_runs([experiment.experiment_id]))


def tags(client: MlflowClient, version: int = 2) -> dict[str, str]:
    return get(client, version).tags


def test_without_a_review_there_is_no_verdict(review_runs: ReviewRuns, candidate: ModelVersion) -> None:
    assert review_runs.find(candidate) == []


def test_a_repeated_review_leaves_one_run_and_one_value_of_each_metric(
    review_runs: ReviewRuns, candidate: ModelVersion
) -> None:
    first = review_runs.keep(candidate, champion(review_runs, 1), at(PASS, "2026-01-01T00:00:00Z"), "")
    second = review_runs.keep(candidate, champion(review_runs, 1), at(PASS, "2026-01-02T00:00:00Z"), "")
    assert second == replace(first, at="2026-01-02T00:00:00Z")
    assert review_runs.find(candidate) == [second]
    assert (first.is_pass, first.compared_with, first.failed, first.by) == (True, "1", "", "jane")
    assert first.files == files_digest(candidate)
    (run,) = runs(review_runs)
    assert run.info.status == "FINISHED"
    assert {
        "test/candidate/bleu",
        "test/opponent/chrf",
        "test/difference/bleu",
        "test/lower_limit/bleu",
    } <= run.data.metrics.keys()
    for key in run.data.metrics:
        assert len(review_runs.client.get_metric_history(run.info.run_id, key)) == 1


def test_the_run_of_a_review_has_a_name_a_description_an_author_and_a_source(
    review_runs: ReviewRuns, candidate: ModelVersion
) -> None:
    kept = review_runs.keep(candidate, champion(review_runs, 1), PASS, "")
    run = review_runs.client.get_run(kept.run_id)
    assert run.info.run_name == "version 2 against version 1"
    experiment = review_runs.client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.note.content"].startswith(f"make review, for the model {MODEL}: ")
    assert (run.data.tags["mlflow.user"], run.data.tags["mlflow.source.name"]) == ("jane", "make review VERSION=2")
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("Review: pass. Better than ")
    for path in (f"/runs/{kept.run_id}/artifacts/{REPORT}", f"#/models/{MODEL}/versions/2"):
        assert path in note
    review_runs.keep(candidate, champion(review_runs, 1), FAIL, "")
    note = review_runs.client.get_run(kept.run_id).data.tags["mlflow.note.content"]
    assert note.startswith("Review: fail. It fails against ")


def test_a_review_with_another_result_replaces_the_first(review_runs: ReviewRuns, candidate: ModelVersion) -> None:
    review_runs.keep(candidate, champion(review_runs, 1), PASS, "")
    verdict = review_runs.keep(candidate, champion(review_runs, 1), worse(FAIL, 3.0), "")
    (run,) = runs(review_runs)
    assert review_runs.find(candidate) == [verdict]
    assert (verdict.is_pass, verdict.failed) == (False, "bleu_drop")
    before = PASS.comparisons[0].scores["candidate"].bleu
    assert run.data.metrics["test/candidate/bleu"] == pytest.approx(before - 3.0)


def test_there_is_a_review_for_each_champion_the_latest_first(review_runs: ReviewRuns, candidate: ModelVersion) -> None:
    review_runs.keep(candidate, None, at(PASS, "2026-01-01T00:00:00Z"), "")
    review_runs.keep(candidate, champion(review_runs, 3), at(FAIL, "2026-01-03T00:00:00Z"), "")
    review_runs.keep(candidate, champion(review_runs, 1), at(PASS, "2026-01-02T00:00:00Z"), "")
    review_runs.keep(get(review_runs.client, 1), champion(review_runs, 3), at(PASS, "2026-01-04T00:00:00Z"), "")
    assert [(v.compared_with, v.is_pass) for v in review_runs.find(candidate)] == [
        ("3", False),
        ("1", True),
        ("baselines", True),
    ]


@pytest.mark.parametrize("step", ["log_artifacts", "log_batch", "set_tag"])
def test_a_review_that_is_interrupted_leaves_no_verdict(
    review_runs: ReviewRuns, candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    review_runs.keep(candidate, champion(review_runs, 1), PASS, "")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, lambda *arguments, **more: (_ for _ in ()).throw(KeyboardInterrupt))
        pytest.raises(KeyboardInterrupt, review_runs.keep, candidate, champion(review_runs, 1), FAIL, "")
    assert review_runs.find(candidate) == []
    assert review_runs.keep(candidate, champion(review_runs, 1), PASS, "").is_pass
    assert len(runs(review_runs)) == 1


def test_the_report_the_data_and_the_pictures_are_in_the_run(
    review_runs: ReviewRuns, candidate: ModelVersion, tmp_path: Path
) -> None:
    picture = AttentionMap("test, line 3", b"\x89PNG of attention")
    verdict = review_runs.keep(candidate, champion(review_runs, 1), PASS, report(PASS, [picture]))
    kept, data = (
        Path(review_runs.client.download_artifacts(verdict.run_id, name, str(tmp_path))).read_text("utf-8")
        for name in (REPORT, DATA)
    )
    assert "test, line 3" in kept
    assert "data:image/png;base64" in kept
    assert Review.from_json(data) == PASS


def test_the_version_shows_what_its_review_found(review_runs: ReviewRuns, candidate: ModelVersion) -> None:
    verdict = review_runs.keep(candidate, champion(review_runs, 1), FAIL, "")
    review_runs.show(verdict, candidate)
    shown = get(review_runs.client, 2)
    difference = FAIL.comparisons[0].differences["bleu"]
    assert difference.limits
    low, high = difference.limits
    assert shown.tags == candidate.tags | {  # registration's own stay
        VERDICT_TAG: "fail against version 1 (bleu_drop)",
        DIFFERENCE_TAG: f"{difference.points:+.1f} BLEU [{low:+.1f}, {high:+.1f}] on test",
    }
    assert len(shown.tags) <= 7  # as many as one reads in MLflow's table
    assert max(map(len, shown.tags.values())) <= 64
    assert len(str(shown.description)) < 5000
    assert "\n\n## Model card\n\nTranslates en to de." in str(shown.description)
    assert str(shown.description).startswith("Review: fail. BLEU +48.8 against version 2.\n")


def test_the_difference_shown_is_that_of_the_last_review_on_the_worst_test_set(
    review_runs: ReviewRuns, candidate: ModelVersion
) -> None:
    extra = worse(make_review([better(name="extra")], replace(PASS.candidate, unknown_pieces={"extra": 0.0})), 1.0)
    both = replace(PASS, comparisons=[*PASS.comparisons, *extra.comparisons])
    review_runs.show(review_runs.keep(candidate, champion(review_runs, 1), both, ""), candidate)
    assert tags(review_runs.client)[DIFFERENCE_TAG].endswith(" on extra")
    verdict = review_runs.keep(candidate, champion(review_runs, 1), worse(PASS, 3.0), "")
    review_runs.show(verdict, get(review_runs.client, 2))
    points = PASS.comparisons[0].differences["bleu"].points - 3.0
    shown = tags(review_runs.client)
    assert shown[DIFFERENCE_TAG].startswith(f"{points:+.1f} BLEU ")
    assert shown[DIFFERENCE_TAG].endswith(" on test")
    assert shown[VERDICT_TAG] == "pass against version 1"
