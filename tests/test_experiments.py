"""`make experiments`: the table of all experiments."""

import re
import shutil
from pathlib import Path

import pytest

from pipeline.plumbing.disk import size_of, told_size
from pipeline.plumbing.lock import hold
from stages.experiments import differences, scores_of
from tests.experiments import FAIR, REFERENCES, SOURCES, publish_evaluated
from tests.project import Finished, Project


def row_of(table: str, name: str) -> str:
    """The line of an experiment, and the settings below it, as one text."""
    found = re.search(rf"^  {name}  .*(?:\n      .*)*", table, re.MULTILINE)
    assert found, table
    return " ".join(found[0].split())


def table(project: Project) -> str:
    run = project.make("experiments")
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def test_a_fresh_clone_lists_all_and_makes_nothing(project: Project) -> None:
    before = sorted(project.root.rglob("*"))
    told = table(project)
    names = [path.stem for path in (project.root / "experiments").glob("*.yaml")]
    assert [line.split()[0] for line in told.splitlines() if line[2] != " "] == [
        "experiment",
        "default",
        *sorted(names),
    ]
    assert row_of(told, "default") == "default wheels en-de - - - - - not begun"
    assert row_of(told, "multi30k").endswith(
        "not begun cleaning: min_source_words 1, max_held_out_similarity 1.0; tokenizer: vocabulary_size 6000; "
        "model: decoder_layers 2; train: epochs 13, micro_batch_tokens 2000"
    )
    assert sorted(project.root.rglob("*")) == before


def test_a_finished_experiment_has_scores_a_size_and_a_state(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    beam = re.search(r"this model, beam +(\S+) +(\S+)", finished.log)
    assert beam
    size = told_size(size_of(project.build))
    told = row_of(table(project), "smoke")
    assert re.match(rf"smoke files qaa-qab [\d,]+ test {beam[1]} {beam[2]} {size} fresh download: ", told), told
    project.edit("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2")
    assert " stale from train on " in row_of(table(project), "smoke")
    with hold(project.build, "train"):
        assert re.search(r" train is running: process \d+ on .*, since ", row_of(table(project), "smoke"))
    shutil.rmtree(project.build / "model")
    (project.build / "model.training").mkdir()
    assert " interrupted in train " in row_of(table(project), "smoke")
    for name in ("model.training", "evaluation", "registered"):
        shutil.rmtree(project.build / name)
    assert " fresh up to encode " in row_of(table(project), "smoke")


def test_wrong_settings_and_missing_files_are_told_in_their_row(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    (project.root / "experiments/slip.yaml").write_text("train: {epochz: 3}\n", encoding="utf-8")
    shutil.copytree(project.build, project.root / "build/multi30k-files")
    told = table(project)
    assert "experiments/slip.yaml: train.epochz: no such setting; did you mean epochs?" in row_of(told, "slip")
    assert " unknown: download.files.splits.train: " in row_of(told, "multi30k-files")
    assert " fresh " in row_of(told, "smoke")


def test_each_test_set_has_its_scores(tmp_path: Path) -> None:
    home = publish_evaluated(tmp_path, "x", FAIR, {"a": (SOURCES, REFERENCES), "b": (SOURCES[:9], REFERENCES[:9])})
    found = scores_of(home)
    assert [name for name, _, _ in found] == ["a", "b"]
    assert found[0][1] != found[1][1]
    assert scores_of(tmp_path / "nothing") == []


def test_settings_are_told_by_section_without_those_of_the_data() -> None:
    default = {"download.source": "wheels", "download.seed": "1", "train.seed": "1", "train.epochs": "8"}
    other = {"download.source": "hub", "download.seed": "2", "train.seed": "2", "train.epochs": "9", "new.x": "null"}
    assert differences(default, other) == "download: seed 2; train: seed 2, epochs 9; new: x null"
    assert differences(default, default) == ""


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123456, "123 kB"), (5 * 10**15, "5000 TB")]
)
def test_sizes_are_told_in_decimal_units(count: int, told: str) -> None:
    assert told_size(count) == told
