"""The summary's advice: a review of a model that beats a baseline, and of no other."""

from pathlib import Path

import pytest

from pipeline.plumbing.artifacts import Artifact, Manifest
from stages.summary import describe


def artifact(facts: dict[str, object]) -> Artifact:
    return Artifact(Path("build/mine/x"), Manifest(facts, {}, {}, {}, {}, facts, {}))


def summary(*scores: dict[str, float]) -> str:
    """What is said of a model with these BLEUs on its test sets."""
    test_sets = {
        f"test_{number}": {
            "sentences": 9,
            "systems": {name: {"bleu": bleu, "chrf": 1.0} for name, bleu in found.items()},
        }
        for number, found in enumerate(scores)
    }
    evaluation = artifact({"test_sets": test_sets, "signatures": {}, "examples": []})
    return "\n".join(describe(evaluation, artifact({"model_name": "translator", "version": 1}), "mine"))


@pytest.mark.parametrize(
    ("scores", "better"),
    [
        ([{"beam": 0.0, "greedy": 0.0, "memory": 0.0, "copy": 0.0}], "translation memory"),
        ([{"beam": 3.0, "greedy": 3.0, "memory": 25.0, "copy": 1.0}], "translation memory"),
        ([{"beam": 3.0, "greedy": 3.0, "memory": 1.0, "copy": 13.0}] * 2, "source copied"),
    ],
)
def test_of_a_model_that_a_baseline_beats_no_review_is_advised(scores: list[dict[str, float]], better: str) -> None:
    told = summary(*scores)
    assert f"It is of no use yet: no better than this baseline: {better}" in told
    assert "make review" not in told
    assert "make translate EXP=mine" in told


def test_of_a_model_that_is_best_on_a_test_set_a_review_is_advised() -> None:
    worse, best = ({"beam": bleu, "greedy": 5.0, "memory": 10.0, "copy": 1.0} for bleu in (5.0, 11.0))
    told = summary(worse, best)
    assert "make review EXP=mine" in told
    assert "no use" not in told
