"""What models learn of the toy language in the time of `make smoke`: all with attention, a part without."""

import json

import pytest

from tests.project import SHORTER, Project, new_project
from tests.toy_corpus import PAIRS, sentence_pairs, write_tsv

CELLS = ("lstm", "gru")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the smoke experiment as it is shipped, trained to its end."""
    project = new_project(tmp_path_factory.mktemp("learning"))
    for old, new in SHORTER.items():
        project.edit("experiments/smoke.yaml", new, old)
    write_tsv(project.root / "build/smoke-corpus/train.tsv", sentence_pairs(PAIRS))
    return project


def bleu(project: Project, cell: str, attention: str, seed: int = 1) -> dict[str, float]:
    """Train and evaluate a model, and return the BLEU of each system on the test set."""
    name = f"{cell}-{attention}-{seed}"
    text = f"extends: smoke\nmodel: {{cell: {cell}, attention: {attention}}}\ntrain: {{seed: {seed}}}\n"
    (project.root / f"experiments/{name}.yaml").write_text(text, encoding="utf-8")
    run = project.make("evaluate", EXP=name)
    assert run.returncode == 0, run.stdout + run.stderr
    metrics = json.loads((project.root / f"build/{name}/evaluation/metrics.json").read_bytes())
    scores = {system: float(told["bleu"]) for system, told in metrics["test_sets"]["test"]["systems"].items()}
    print(name, scores)
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_with_attention_the_toy_language_is_learned_and_without_it_is_not(school: Project, cell: str) -> None:
    scores = {attention: bleu(school, cell, attention) for attention in ("none", "dot", "general", "additive")}
    beam = {attention: told["beam"] for attention, told in scores.items()}
    assert scores["none"]["memory"] + 10 < beam["none"] < 60
    assert min(beam["dot"], beam["general"], beam["additive"]) > 95


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_smoke_is_learned_with_other_seeds(school: Project, seed: int) -> None:
    assert bleu(school, "lstm", "general", seed)["beam"] > 95
