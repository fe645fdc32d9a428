"""`make study` on the toy language: from nothing to the page, and what a browser shows of it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.plumbing.lock import holder
from tests.browser import dom, needs_browser
from tests.project import Finished, Project

MEMBERS = ["no-attention", "general", "scheduled-sampling", "no-attention-128"]
EQUAL = [
    "lstm",
    "no-attention-64",
]  # to general and no-attention: the toy experiment of the tests has LSTMs of 64 units
SETTINGS = f"""\
extends: smoke
study:
  experiments: [{", ".join(MEMBERS + EQUAL)}]
  walk: [general, no-attention]
train:
  epochs: 1
"""


@pytest.fixture(scope="module")
def studied(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A study of four members."""
    project = replace(finished.copy_to(tmp_path_factory.mktemp("study")), experiment="toy")
    (project.root / "experiments/toy.yaml").write_text(SETTINGS, encoding="utf-8")
    run = project.make("study")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "study: lstm is the same as general here, so it is left out\n" in run.stdout
    assert sorted(re.findall(r"^study: \d of 4: (.*)", run.stdout, re.MULTILINE)) == sorted(MEMBERS)
    assert "study: 1 of 4: no-attention-128\n" in run.stdout  # the largest
    return project


@pytest.fixture(scope="module")
def page(studied: Project) -> str:
    return (studied.build / "study/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(studied: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((studied.build / "study/results.json").read_bytes())
    return found


def test_a_study_trains_only_what_is_stale_and_ends_with_the_same_numbers(
    studied: Project, results: dict[str, Any], tmp_path: Path
) -> None:
    project = replace(Project(shutil.copytree(studied.root, tmp_path / "a copy", symlinks=True)), experiment="toy")
    shutil.rmtree(project.root / "build/scheduled-sampling@toy/model")
    run = project.make("study")
    assert run.returncode == 0, run.stderr
    assert re.findall(r"stages\.train build/([^/]+)/", run.stdout) == ["scheduled-sampling@toy"]
    again = json.loads((project.build / "study/results.json").read_bytes())
    for part in ("by_length", "joined", "sizes", "gradients", "recurrences", "walks", "trees", "forcing"):
        assert again[part] == results[part], part
    assert sorted(path.name for path in project.build.iterdir() if path.name.startswith("study")) == ["study"]


def test_the_numbers_are_those_of_the_evaluations(studied: Project, results: dict[str, Any]) -> None:
    assert [row["member"] for row in results["rows"]] == MEMBERS
    assert (results["fixed"], results["attentive"]) == ("no-attention", "general")
    assert [size["size"] for size in results["sizes"]] == [64, 128]
    for row in results["rows"]:
        home = studied.root / f"build/{row['member']}@toy"
        scores = json.loads((home / "evaluation/manifest.json").read_bytes())["facts"]["test_sets"]["test"]
        assert row["bleu"] == scores["systems"]["beam"]["bleu"]
        joined = {each["words"]: each for each in results["joined"].get(row["member"], [])}
        if joined:
            assert joined["1 sentence"]["bleu"]["value"] == pytest.approx(row["bleu"], abs=0.006)
        groups = results["by_length"][row["member"]]
        assert sum(group["sentences"] for group in groups) <= results["sentences"]
        by_length = {group["words"]: group["bleu"]["value"] for group in groups}
        for group in scores["by_length"]:
            words = group["words"]
            if words in by_length:
                assert by_length[words] == pytest.approx(group["bleu"]["beam"], abs=0.006)
        forcing = results["forcing"][row["member"]]
        assert forcing["free_running"]["bleu"] == pytest.approx(scores["systems"]["greedy"]["bleu"], abs=0.006)
        facts = json.loads((home / "model/manifest.json").read_bytes())["facts"]
        assert max(epoch["bleu"] for epoch in row["epochs"]) == facts["validation_bleu"]
        entropies = [epoch["attention_entropy"] for epoch in row["epochs"]]
        assert all((entropy is None) != row["attends"] for entropy in entropies)


def test_every_figure_is_a_picture_and_a_part_of_the_page(studied: Project, page: str) -> None:
    pictures = sorted(path.stem for path in (studied.build / "study").glob("*.png"))
    assert len(pictures) == 9
    for name in pictures:
        assert f"({name}.png)" in page
    assert page.count("<svg") == 9 + 3  # and three trees
    with open(studied.build / "study/members.csv", encoding="utf-8", newline="") as file:
        assert [row["member"] for row in csv.DictReader(file)] == MEMBERS


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    assert len(page.encode()) < 3_000_000
    assert not re.search(r"""(src|href)=["'](?!#)|@import|fetch\(|url\((?!#)""", page)
    assert "mathdefault" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    Nesting().feed(page)


class Nesting(HTMLParser):
    """Checks that every element is closed in its place."""

    VOID = ("meta", "br", "input", "path", "rect", "use", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@needs_browser
@pytest.mark.parametrize("member", ["general", "no-attention"])
def test_the_slider_shows_the_numbers_of_the_model(
    page: str, results: dict[str, Any], tmp_path: Path, member: str
) -> None:
    sentence = results["walks"][1]
    (walk,) = [walk for walk in sentence["walks"] if walk["member"] == member]
    step = len(walk["steps"]) - 2
    document = dom(
        page,
        tmp_path,
        f"""
        function act(element, value, name) {{
          element.value = value;
          element.dispatchEvent(new Event(name, {{bubbles: true}}));
        }}
        act(document.getElementById("sentence"), 1, "change");
        document.querySelector("input[value='{member}']").click();
        act(document.getElementById("step"), {step}, "input");
        """,
    )
    found = walk["steps"][step]
    inside = document.split('id="inside"')[1].split('id="words"')[0]
    assert re.findall(r'class="number score">([^<]*)<', inside) == [f"{score:.2f}" for score in found["scores"]]
    shown = [float(share) for share in re.findall(r'<div class="bar"[^>]*><span>([\d.]+)%', inside)]
    assert shown == pytest.approx([100 * weight for weight in found["weights"]], abs=0.06)
    words = document.split('id="words"')[1].split("</section>")[0]
    assert re.findall(r'class="word">([^<]*)<', words) == [
        "end" if piece == "</s>" else piece.replace("▁", "·") for piece, _ in found["likeliest"]
    ]
    assert found["second"] in document
    assert f"{step + 1} of {len(walk['steps'])}" in document
    target = document.split('id="target"')[1].split("</div>")[0]
    assert len(re.findall(r'class="here"', target)) == 1
    percentages = re.findall(r"<small>(\d+)%</small>", document.split('id="source"')[1].split("</div>")[0])
    expected = [f"{100 * w:.0f}" for w in found["weights"] if w >= 0.005] if member == "general" else []
    assert percentages == expected


def test_mlflow_has_the_study_with_a_nested_run_for_each_member(studied: Project) -> None:
    client = MlflowClient(f"sqlite:///{studied.root}/build/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], "tags.study = 'toy'")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    nested = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert sorted(nested) == sorted(MEMBERS)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert nested["general"].data.metrics["bleu"] == parent.data.metrics["bleu_attentive"]
    files = [file.path for file in client.list_artifacts(parent.info.run_id, "study")]
    assert {"study/index.html", "study/results.json", "study/members.csv", "study/gradients.png"} <= set(files)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            "experiments: [no-attention, smoke], walk: [smoke]",
            "smoke.yaml: download: smoke has a corpus of its own",
        ),
        (
            "experiments: [no-attention, gone], walk: [gone]",
            "got 'gone', but there is no experiments/gone.yaml",
        ),
        ("experiments: [general]", "study.experiments: "),
        ("experiments: [general, general]", "study: experiments: got general, general, expected each of them once"),
        ("experiments: [general, dot], walk: []", "study.walk: got [], expected a list of at least 1 items"),
        ("experiments: [general, dot], walk: [gru]", "walk: got 'gru', expected some of the experiments"),
        ("experiments: [general, dot], walk: [dot]", "got general, dot, expected at least one with model.attention"),
        ("experiments: [no-attention, no-attention-64], walk: [no-attention]", "expected at least one with attention"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(project: Project, settings: str, expected: str) -> None:
    text = f"extends: smoke\nstudy: {{{settings}}}\n"
    (project.root / "experiments/wrong.yaml").write_text(text, encoding="utf-8")
    (project.root / "experiments/pieces.yaml").write_text("tokenizer: {vocabulary_size: 600}\n", encoding="utf-8")
    run = replace(project, experiment="wrong").make("study")
    assert run.returncode == 2
    assert expected in run.stderr, run.stderr
    assert "Traceback" not in run.stderr
    assert not list((project.root / "build").glob("*wrong*/corpus"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_waits_for_the_checkpoint_and_says_how_to_continue(
    project: Project, number: signal.Signals
) -> None:
    (project.root / "experiments/toy.yaml").write_text(SETTINGS.replace("epochs: 1", "epochs: 50"), encoding="utf-8")
    member = replace(project, experiment="no-attention", data="toy")
    process = subprocess.Popen(
        ["make", "study", "EXP=toy"],
        cwd=project.root, env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    member.wait_for_checkpoint()
    if number == signal.SIGINT:  # from a terminal, all processes receive it
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    told, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert "a checkpoint is saved" in told
    assert "to continue, run: make study EXP=toy" in told
    assert holder(member.build) is None


def test_a_study_lays_its_members_over_one_experiment(project: Project) -> None:
    run = replace(project, experiment="dot", data="smoke").make("study")
    assert run.returncode == 2
    assert "type: make study EXP=smoke" in run.stderr
