"""What Make accepts: experiments, variables and settings. Mistakes are reported before anything runs."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.plumbing.stamps import SECTIONS
from tests.project import ROOT, Project


def test_an_unknown_experiment_is_an_error_that_lists_those_that_exist(project: Project) -> None:
    run = project.make(EXP="lstn")
    assert run.returncode == 2
    assert re.search(r"no experiments/lstn\.yaml; expected one of: .*smoke", run.stderr)
    assert not (project.root / "build/lstn").exists()


@pytest.mark.parametrize(
    "name", ["my exp", "smoke default", "smo%", "../smoke", "$(shell touch run)smoke", "`touch run`"]
)
def test_an_experiment_must_be_a_plain_name(project: Project, name: str) -> None:
    run = project.make("-n", EXP=name)
    typed = project.make("-n", f"EXP={name}", EXP="")
    for told in (run, typed):
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr.startswith("Makefile:")
        assert told.stderr.count("\n") == 1
        assert f"no experiments/{name}.yaml; expected one of: " in told.stderr
    assert not (project.root / "run").exists()


def test_an_experiment_is_laid_over_another_one(project: Project) -> None:
    told = project.make("-n", "train", "DATA=smoke", EXP="dot")
    files = "params.yaml experiments/smoke.yaml experiments/dot.yaml"
    assert (told.returncode, told.stderr) == (0, "")
    assert "build/dot@smoke/stamps/train.json" in told.stdout
    assert f"stages.review {files}\n" in project.make("-n", "review", "DATA=smoke", EXP="dot").stdout
    stamp = json.loads((project.root / "build/dot@smoke/stamps/train.json").read_bytes())
    assert (stamp["params"]["model"]["attention"], stamp["params"]["model"]["hidden_size"]) == ("dot", 64)
    assert project.make("summary", "DATA=smoke", EXP="dot").stderr.startswith(
        "error: there is no build/dot@smoke/summary.txt yet; run: make EXP=dot DATA=smoke\n"
    )


@pytest.mark.parametrize(
    "typed", [("DATA=smoke", ""), ("DATA=smoke", "default"), ("DATA=default", "smoke"), ("DATA=", "smoke")]
)
def test_over_or_under_the_default_an_experiment_is_itself(project: Project, typed: tuple[str, str]) -> None:
    data, experiment = typed
    assert "build/smoke/summary.txt" in project.make("-n", "summary", data, EXP=experiment).stdout


def test_an_experiment_with_a_corpus_of_its_own_is_laid_over_no_other(project: Project) -> None:
    for experiment in ("smoke", "above"):
        (project.root / "experiments/above.yaml").write_text("extends: smoke\n", encoding="utf-8")
        run = project.make("train", "DATA=multi30k", EXP=experiment)
        assert run.returncode == 2
        assert (
            f"error: experiments/smoke.yaml: download: {experiment} has a corpus of its own, so it cannot be laid over "
            f"multi30k; type EXP={experiment} without DATA=multi30k\n" in run.stderr
        )
        assert not (project.root / f"build/{experiment}@multi30k").exists()


@pytest.mark.parametrize(
    "name", ["lstn", "dot smoke", "a@b", "smo%", "../smoke", "$(shell touch run)smoke", "`touch run`"]
)
def test_the_experiment_under_another_must_be_a_plain_name_too(project: Project, name: str) -> None:
    told = project.make("-n", f"DATA={name}", EXP="dot")
    assert (told.returncode, told.stdout) == (2, "")
    assert f"DATA: there is no experiments/{name}.yaml; expected one of: " in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (project.root / "run").exists()


def test_an_experiment_is_not_laid_over_itself(project: Project) -> None:
    told = project.make("-n", "train", "DATA=dot", EXP="dot")
    assert told.returncode == 2
    assert "EXP and DATA are both dot, expected two experiments; type EXP=dot alone" in told.stderr


def test_the_name_of_an_experiment_cannot_contain_what_stands_between_two(project: Project) -> None:
    (project.root / "experiments/a@b.yaml").touch()
    told = project.make("-n", "train")
    assert told.returncode == 2
    assert "the name of an experiment cannot contain an @" in told.stderr


def test_settings_that_use_the_name_of_a_typed_variable_are_an_error(project: Project) -> None:
    project.edit("experiments/smoke.yaml", "{train: build/smoke-corpus/train.tsv}", "{train: '${DATA}/train.tsv'}")
    told = project.make("-n", "train", "DATA=smoke", EXP="dot")
    assert told.returncode == 2
    assert "the settings name files with ${DATA}, but DATA=smoke takes the place of that variable" in told.stderr


def test_a_variable_data_of_the_environment_belongs_to_the_settings(project: Project) -> None:
    project.edit("experiments/smoke.yaml", "{train: build/smoke-corpus/train.tsv}", "{train: '${DATA}/train.tsv'}")
    told = project.make("-n", "download", DATA="build/smoke-corpus")
    assert (told.returncode, told.stderr) == (0, "")
    assert "build/smoke/stamps/download.json" in told.stdout
    stamp = json.loads((project.build / "stamps/download.json").read_bytes())
    assert [len(found) for found in stamp["files"].values()] == [1]  # the file was found


@pytest.mark.parametrize(
    ("goals", "typed", "unread"),
    [
        ("", "exp=mine", "exp"),
        ("train", "epochs=3", "epochs"),
        ("translate", "FILE=text.txt", "FILE"),
        ("translate", "ATTENTION=1", "ATTENTION"),
        ("attention", "NPROC=2", "NPROC"),
        ("serve", "VERSION=3", "VERSION"),
        ("review", "NUM_PROC=2", "NUM_PROC"),
        ("download train", "TEXT=x", "TEXT"),
        ("help", "CORPUS=/data", "CORPUS"),
        ("clean", "a'b=1", "a'b"),
    ],
)
def test_a_variable_that_no_goal_reads_is_an_error(project: Project, goals: str, typed: str, unread: str) -> None:
    run = project.make("-n", *goals.split(), typed)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.search(
        rf"\*\*\* make {goals or 'all'}: there is no variable {unread}, expected one of: EXP .* the command: {unread}=",
        run.stderr,
    )


def test_a_variable_that_the_settings_or_a_goal_read_is_accepted(project: Project) -> None:
    assert project.make("-n", "train", "NPROC=2").returncode == 0
    assert project.make("-n", "download", "NUM_PROC=2", "ENGINE=ray").returncode == 0
    assert project.make("-n", "status", "review", "NPROC=2", "VERSION=1").returncode == 0
    assert project.make("-n", "download", "CORPUS=/data").returncode == 2
    project.edit("experiments/smoke.yaml", "{train: build/smoke-corpus/train.tsv}", "{train: '${CORPUS}/train.tsv'}")
    told = project.make("-n", "download", "CORPUS=build/smoke-corpus")
    assert (told.returncode, told.stderr) == (0, "")
    (project.root / "experiments/more.yaml").write_text("extends: smoke\n", encoding="utf-8")
    assert project.make("-n", "download", "CORPUS=build/smoke-corpus", EXP="more").returncode == 0


def test_all_mistakes_in_settings_are_reported_before_a_stage_runs(project: Project) -> None:
    project.edit("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 1e-2\n  epochz: 3\n  seed: -1")
    run = project.make()
    assert run.returncode == 2
    assert [line for line in run.stderr.splitlines() if line.startswith("error: ")] == [
        "error: experiments/smoke.yaml: train.seed: got -1, expected a whole number >= 0",
        "error: experiments/smoke.yaml: train.learning_rate: got '1e-2', expected a number > 0 (write 1.0e-2)",
        "error: experiments/smoke.yaml: train.epochz: no such setting; did you mean epochs?",
    ]
    assert "Traceback" not in run.stderr
    assert not any(self_made.is_file() for self_made in project.build.rglob("*"))
    project.edit("experiments/smoke.yaml", "learning_rate: 1e-2\n  epochz: 3\n  seed: -1", "learning_rate: 1.0e-2")
    assert project.planned() == list(SECTIONS)


def test_clean_removes_this_experiments_outputs_only(project: Project) -> None:
    for name in ("build/smoke/model", "build/default/model"):
        (project.root / name).mkdir(parents=True)
    assert project.make("clean").returncode == 0
    assert sorted(path.name for path in (project.root / "build").iterdir()) == ["default", "smoke-corpus"]


def test_help_has_a_line_for_every_target(project: Project) -> None:
    makefile = (project.root / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    stages = re.search(r"^STAGES +:= (.*)$", makefile, re.MULTILINE)
    others = re.search(r"^UNSTAMPED +:= (.*)$", makefile, re.MULTILINE)
    assert stages
    assert others
    told = re.findall(r"^  (\S+) +\S", project.make("help").stdout, re.MULTILINE)
    assert sorted(told) == sorted(["all", "status", *stages[1].split(), *others[1].split()])


@pytest.mark.parametrize(("name", "sign"), [("50%", "%"), ("a:b", ":"), ("two\nlines", "newline")])
def test_a_path_that_mlflow_python_or_make_cannot_handle_is_an_error(tmp_path: Path, name: str, sign: str) -> None:
    (tmp_path / name).mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path / name)
    run = subprocess.run(["make", "-n"], cwd=tmp_path / name, capture_output=True, text=True)
    assert (run.returncode, f" contains a {sign}, which" in run.stderr, len(run.stderr.splitlines())) == (2, True, 1)
