"""The summary's advice: a review of a model that beats a baseline, and of no other; where the pictures are."""

import pytest

from pipeline.registry.facts import RegisteredFacts
from pipeline.scoring.facts import EvaluationFacts, ScoredTestSet, SystemName, SystemScores
from stages.summary import summarise

Bleus = dict[SystemName, float]


def scores(bleu: float) -> SystemScores:
    return SystemScores(
        bleu=bleu,
        bleu_interval=(bleu, bleu),
        chrf=1.0,
        chrf_interval=(1.0, 1.0),
        length_ratio=1.0,
        empty=0.0,
        copied=0.0,
    )


def summary(*test_sets: Bleus, experiment: str = "mine", has_pictures: bool = True) -> str:
    """Return what is said of a model with these BLEUs on its test sets."""
    evaluation = EvaluationFacts(
        test_sets={
            f"test_{number}": ScoredTestSet(
                sentences=9, systems={name: scores(bleu) for name, bleu in found.items()}, by_length=[]
            )
            for number, found in enumerate(test_sets)
        },
        signatures={},
        examples=[],
    )
    registered = RegisteredFacts(
        run_id="1", model_name="translator", version=1, model_uri="", model_id="m-1", store="sqlite"
    )
    return "\n".join(summarise(evaluation, registered, experiment, has_pictures))


@pytest.mark.parametrize(
    ("test_sets", "better"),
    [
        ([{"beam": 0.0, "greedy": 0.0, "memory": 0.0, "copy": 0.0}], "translation memory"),
        ([{"beam": 3.0, "greedy": 3.0, "memory": 25.0, "copy": 1.0}], "translation memory"),
        ([{"beam": 3.0, "greedy": 3.0, "memory": 1.0, "copy": 13.0}] * 2, "source copied"),
    ],
)
def test_no_review_is_advised_if_a_baseline_is_better(test_sets: list[Bleus], better: str) -> None:
    told = summary(*test_sets)
    assert f"The model is not useful yet: a baseline, {better}, has the same or a higher BLEU" in told
    assert "make review" not in told
    assert "make translate EXP=mine" in told


def test_a_review_is_advised_if_the_model_is_best_on_one_test_set() -> None:
    worse: Bleus = {"beam": 5.0, "greedy": 5.0, "memory": 10.0, "copy": 1.0}
    told = summary(worse, {**worse, "beam": 11.0})
    assert "make review EXP=mine" in told
    assert "not useful" not in told


@pytest.mark.parametrize(("experiment", "option"), [("mine", " EXP=mine"), ("default", "")])
def test_pictures_of_attention_are_named_with_the_command_that_draws_more(experiment: str, option: str) -> None:
    scores: Bleus = {"beam": 5.0, "greedy": 5.0, "memory": 1.0, "copy": 1.0}
    told = summary(scores, experiment=experiment)
    assert f"Pictures of where the model looked: build/{experiment}/evaluation/*.attention.*.png\n" in told
    assert f'make attention{option} TEXT="..."\n' in told
    assert "attention" not in summary(scores, experiment=experiment, has_pictures=False)
