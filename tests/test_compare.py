"""`make compare`: its output for two experiments, and for names that cannot be compared."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pipeline.experiments.evaluated import open_evaluated
from pipeline.experiments.side_by_side import SideBySide, compare_experiments
from pipeline.plumbing.errors import UserError
from stages.compare import describe
from tests.experiments import FAIR, GOOD, REFERENCES, SOURCES, publish_evaluated
from tests.project import Finished, Project


def compared(build: Path, a: str = "default", b: str = "mine") -> SideBySide:
    return compare_experiments(open_evaluated(build, a), open_evaluated(build, b))


def test_only_settings_that_differ_are_told_and_scores_have_intervals_and_a_judgement(tmp_path: Path) -> None:
    publish_evaluated(tmp_path, "default", FAIR, model={"attention": "none"})
    publish_evaluated(tmp_path, "mine", GOOD, model={"attention": "dot"}, evaluate={"beam_size": 2})
    result = compared(tmp_path)
    assert result.settings == {"evaluate.beam_size": ("5", "2"), "model.attention": ("none", "dot")}
    (test_set,) = result.test_sets
    bleu = test_set.scores["bleu"]
    assert (test_set.sentences, bleu.b) == (100, 100.0)
    assert bleu.difference == pytest.approx(100 - bleu.a, abs=0.01)
    assert bleu.interval
    assert 0 < bleu.interval[0] < bleu.difference < bleu.interval[1]
    assert bleu.a_interval[0] < bleu.a < bleu.a_interval[1]
    assert {score.judgement for score in test_set.scores.values()} == {"mine is better"}
    assert {s.judgement for t in compared(tmp_path, "mine", "default").test_sets for s in t.scores.values()} == {
        "default is worse"
    }


def test_equal_translations_differ_in_nothing(tmp_path: Path) -> None:
    for name in ("default", "mine"):
        publish_evaluated(tmp_path, name, FAIR)
    result = compared(tmp_path)
    assert result.settings == {}
    assert result.data["corpus"][0] == result.data["corpus"][1]
    assert [(s.difference, s.judgement) for t in result.test_sets for s in t.scores.values()] == [
        (0.0, "no significant difference")
    ] * 2
    assert "all" in describe(result, "table")[2]


def test_of_few_sentences_no_judgement_is_made(tmp_path: Path) -> None:
    few = {"test": (SOURCES[:99], REFERENCES[:99])}
    publish_evaluated(tmp_path, "default", FAIR, few)
    publish_evaluated(tmp_path, "mine", GOOD, few)
    bleu = compared(tmp_path).test_sets[0].scores["bleu"]
    assert (bleu.interval, bleu.judgement) == (None, "too few sentences to tell")


def test_a_test_set_is_known_by_its_text_and_not_by_its_name(tmp_path: Path) -> None:
    other = [text.replace("house", "horse") for text in SOURCES]
    sets = {"test": (SOURCES, REFERENCES), "news": (other, REFERENCES), "chat": (SOURCES[:9], REFERENCES[:9])}
    publish_evaluated(tmp_path, "default", FAIR, sets)
    publish_evaluated(tmp_path, "mine", FAIR, {"2016": sets["test"], "news": (SOURCES[:50], REFERENCES[:50])})
    result = compared(tmp_path)
    assert [(t.name, t.name_in_b) for t in result.test_sets] == [("test", "2016")]
    assert {side: list(scores) for side, scores in result.not_compared.items()} == {
        "a": ["chat", "news"],
        "b": ["news"],
    }
    told = "\n".join(describe(result, "table"))
    assert "test = 2016 (100), BLEU" in told
    assert "Scores that are not compared, because only one experiment has the test set" in told
    assert [line.split() for line in told.splitlines() if line.strip().startswith("news, BLEU")] == [
        ["news,", "BLEU", f"{result.not_compared['a']['news']['bleu']:.1f}", "-"],
        ["news,", "BLEU", "-", f"{result.not_compared['b']['news']['bleu']:.1f}"],
    ]


def test_without_a_common_test_set_there_are_no_differences(tmp_path: Path) -> None:
    publish_evaluated(tmp_path, "default", FAIR)
    publish_evaluated(tmp_path, "mine", FAIR, {"test": (SOURCES[:50], REFERENCES[:50])})
    result = compared(tmp_path)
    assert result.test_sets == []
    told = "\n".join(describe(result, "markdown"))
    assert "Scores of free translations" not in told
    assert "## Scores that are not compared" in told


def test_an_experiment_that_is_not_evaluated_is_told_with_the_command(tmp_path: Path) -> None:
    for name in ("default", "mine"):
        publish_evaluated(tmp_path, name)
    shutil.rmtree(tmp_path / "mine/evaluation")
    with pytest.raises(UserError, match=r"mine/evaluation/manifest.json is missing; run: make evaluate EXP=mine$"):
        compared(tmp_path)


def test_an_evaluation_of_another_model_is_refused(tmp_path: Path) -> None:
    for name in ("default", "mine", "third"):
        publish_evaluated(tmp_path, name, train={"seed": len(name)})
    shutil.rmtree(tmp_path / "mine/model")
    shutil.copytree(tmp_path / "third/model", tmp_path / "mine/model")
    with pytest.raises(UserError, match=r"evaluation was made from another model .*; run: make evaluate EXP=mine$"):
        compared(tmp_path)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "A is missing, expected the name of an experiment, as in: make compare A=default B=mine"),
        ("A=default", "B is missing"),
        ("A=default B=default", "A and B are both 'default', expected two experiments"),
        ("A=default B=smok", "B: got 'smok', expected one of the experiments default, additive"),
        ("A=../build/smoke B=default", "A: got '../build/smoke', expected one of"),
        ("A=$(shell touch ran) B=`touch ran`", "A: got '$(shell touch ran)', expected one of"),
        ("A=smoke B=default FORMAT=html", "FORMAT: got 'html', expected one of table, markdown, json"),
        ("A=smoke B=default", "build/smoke/evaluation/manifest.json is missing; run: make evaluate EXP=smoke"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(project: Project, typed: str, told: str) -> None:
    run = project.make("compare", *re.split(r" (?=B=|FORMAT=)", typed) if typed else [])
    assert (run.returncode, run.stdout) == (2, "")
    assert f"error: {told}" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (project.root / "ran").exists()


def test_two_real_experiments_are_compared_in_each_format(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    settings = (project.root / "experiments/smoke.yaml").read_text(encoding="utf-8")
    (project.root / "experiments/greedy.yaml").write_text(f"{settings}evaluate:\n  beam_size: 1\n", encoding="utf-8")
    shutil.copytree(project.build, project.root / "build/greedy")
    run = project.make("evaluate", EXP="greedy")
    assert run.returncode == 0, run.stderr
    table, markdown, data = (
        project.make("compare", "A=smoke", "B=greedy", *form) for form in ((), ("FORMAT=markdown",), ("FORMAT=json",))
    )
    assert (table.returncode, table.stderr) == (0, "")
    assert [line.split() for line in table.stdout.splitlines()[:3]] == [
        ["Settings", "that", "differ"],
        ["smoke", "greedy"],
        ["evaluate.beam_size", "5", "1"],
    ]
    assert markdown.stdout.startswith(
        "# greedy compared with smoke\n\n## Settings that differ\n\n|  | smoke | greedy |"
    )
    found = json.loads(data.stdout)
    assert found["settings"] == {"evaluate.beam_size": ["5", "1"]}
    assert found["test_sets"][0]["sentences"] == 100
    assert len(found["test_sets"][0]["scores"]["bleu"]["interval"]) == 2
