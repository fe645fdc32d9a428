"""What models learn of the toy language of `make smoke`: all of it with attention, a part without."""

import json

import pytest

from tests.project import SHORTER, Project, new_project
from tests.toy_corpus import PAIRS, sentence_pairs, write_tsv

CELLS, SCORES = ("lstm", "gru"), ("dot", "general", "concat", "additive", "multihead")
LONGER = "train: {epochs: 10}"  # LSTM learns to attend later than GRU


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the smoke experiment as it is shipped, trained to its end."""
    project = new_project(tmp_path_factory.mktemp("learning"))
    for old, new in SHORTER.items():
        project.edit("experiments/smoke.yaml", new, old)
    write_tsv(project.root / "build/smoke-corpus/train.tsv", sentence_pairs(PAIRS))
    return project


def bleu(project: Project, name: str, overlay: str) -> dict[str, float]:
    """Train and evaluate the smoke experiment with other settings. Return the BLEU of each system on the test set."""
    (project.root / f"experiments/{name}.yaml").write_text(f"extends: smoke\n{overlay}\n", encoding="utf-8")
    run = project.make("evaluate", EXP=name)
    assert run.returncode == 0, run.stdout + run.stderr
    metrics = json.loads((project.root / f"build/{name}/evaluation/metrics.json").read_bytes())
    scores = {system: float(told["bleu"]) for system, told in metrics["test_sets"]["test"]["systems"].items()}
    print(name, scores)
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_with_attention_the_toy_language_is_learned_and_without_it_is_not(school: Project, cell: str) -> None:
    scores = {
        attention: bleu(school, f"{cell}-{attention}", f"model: {{cell: {cell}, attention: {attention}}}\n{LONGER}")
        for attention in ("none", *SCORES)
    }
    beam = {attention: told["beam"] for attention, told in scores.items()}
    assert scores["none"]["memory"] + 10 < beam["none"] < 60
    assert min(beam[score] for score in SCORES) > 95


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_smoke_is_learned_with_any_seed(school: Project, seed: int) -> None:
    assert bleu(school, f"seed-{seed}", f"train: {{seed: {seed}}}")["beam"] > 95
