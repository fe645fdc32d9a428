"""What Make promises: the plan is the truth, nothing runs twice, nothing half-made is taken for whole."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import pytest
from mlflow import MlflowClient

from pipeline.plumbing.artifacts import read_json
from pipeline.plumbing.lock import hold
from pipeline.plumbing.stamps import SECTIONS
from pipeline.plumbing.tracking.local_store import local_uri
from tests.faults import outcome
from tests.manifests import rewrite_manifest
from tests.project import DIRECTORIES, ROOT, Finished, Kill, Project, kill_in, stages_in

NOTHING = "make: Nothing to be done for 'all'.\n"


def test_the_whole_pipeline_ends_with_a_summary(finished: Finished) -> None:
    log = finished.log
    assert len(re.findall(r"^  source .*\n  reference .*\n  hypothesis ", log, re.MULTILINE)) == 5
    assert re.search(r"^  this model, beam +\d+\.\d +\d+\.\d$", log, re.MULTILINE)
    assert re.search(r"^  translation memory +\d+\.\d +\d+\.\d$", log, re.MULTILINE)
    assert re.search(r"^bleu: nrefs:1\|.*\|version:", log, re.MULTILINE)
    assert "Registered as smoke version 1. Next:" in log
    assert "make translate EXP=smoke TEXT=" in log
    assert finished.make("summary").stdout in log


def test_a_second_make_only_looks_whether_files_have_changed(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    assert project.make("-q").returncode == 0
    assert project.told_stale() == []
    time.sleep(2.1)  # what was written a moment ago may be written again within a tick of its file system's clock
    project.make("-q")  # a copied corpus is looked at closely
    binaries, log = project.root / ".venv/bin", tmp_path / "started"
    python = binaries.resolve() / "python"
    binaries.unlink()
    binaries.mkdir()
    (binaries / "python").write_text(f'#!/bin/sh\necho "$@" >>"{log}"\nexec "{python}" "$@"\n', encoding="utf-8")
    (binaries / "python").chmod(0o755)
    again = project.make()
    assert (again.returncode, again.stdout) == (0, NOTHING)
    assert log.read_text(encoding="utf-8") == "-I -S pipeline/plumbing/watch.py build/smoke/stamps/files.json\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2", "train evaluate register"),
        ("experiments/smoke.yaml", "hidden_size: 64", "hidden_size: 32", "train evaluate register"),
        (
            "experiments/smoke.yaml",
            "vocabulary_size: 640",
            "vocabulary_size: 630",
            "tokenizer encode train evaluate register",
        ),
        ("experiments/smoke.yaml", "model:\n", "encode:\n  max_tokens: 99\nmodel:\n", "encode train evaluate register"),
        ("stages/evaluate.py", "def ", "NEW = 1\n\n\ndef ", "evaluate register"),
        ("stages/train.py", "\nfrom ", "\n# why\nfrom ", ""),
        ("pipeline/seq2seq/model.py", '"""', '"""Once more: ', ""),
        ("pipeline/training/out_of_memory.py", "out of memory with", "memory ran out with", ""),
        ("pipeline/training/trainer.py", "a checkpoint is saved", "there is a checkpoint", ""),
        ("pipeline/training/trainer.py", "is left out: its", "is skipped: its", ""),
        ("stages/train.py", "going on after step", "it goes on after step", ""),
        ("stages/evaluate.py", "sentences, BLEU", "lines, BLEU", ""),
        ("pipeline/data/sources/hub.py", "is taken as", "becomes", ""),
        (
            "pipeline/data/sources/hub.py",
            "if meant and",
            "if meant or",
            "download tokenizer encode train evaluate register",
        ),
        ("pipeline/training/trainer.py", "REPORT_EVERY = 10", "REPORT_EVERY = 11", "train evaluate register"),
        ("pipeline/plumbing/params.py", "\nclass ", "\nUNUSED = 1\n\n\nclass ", ""),
        ("pipeline/plumbing/progress.py", "\nclass ", "\nUNUSED = 1\n\n\nclass ", ""),
        ("pipeline/plumbing/tracking/replica.py", "\nclass ", "\nUNUSED = 1\n\n\nclass ", ""),
    ],
)
def test_an_edit_reruns_what_depends_on_it(
    finished: Finished, tmp_path: Path, file: str, old: str, new: str, stale: str
) -> None:
    project = finished.copy_to(tmp_path)
    project.edit(file, old, new)
    assert project.planned() == stale.split()
    assert project.make("-q").returncode == (1 if stale else 0)
    assert project.told_stale() == stale.split()
    assert project.planned() == stale.split()


def test_a_setting_that_is_tried_and_taken_back_reruns_nothing(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "epochs: ", "epochs: 1")
    assert project.planned() == ["train", "evaluate", "register"]
    project.edit("experiments/smoke.yaml", "epochs: 1", "epochs: ")
    assert project.make().stdout == NOTHING


def test_make_knows_every_file_of_a_chain_of_experiments(finished: Finished, tmp_path: Path) -> None:
    """smoke is the same settings over two files more: nothing is stale, until one of these files is another one."""
    project = finished.copy_to(tmp_path)
    experiments = project.root / "experiments"
    os.rename(experiments / "smoke.yaml", experiments / "base.yaml")
    (experiments / "middle.yaml").write_text("extends: base\n", encoding="utf-8")
    (experiments / "smoke.yaml").write_text("extends: middle\n", encoding="utf-8")
    assert project.planned() == project.told_stale() == []

    project.edit("experiments/base.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2")
    assert project.planned() == project.told_stale() == ["train", "evaluate", "register"]
    project.edit("experiments/middle.yaml", "base\n", "base\ntrain: {learning_rate: 1.0e-2}\n")
    assert project.make("-q").returncode == 0
    assert project.told_stale() == []

    (experiments / "base.yaml").unlink()
    run = project.make("-n")
    assert run.returncode == 2
    assert "error: experiments/middle.yaml: extends: experiments/base.yaml is missing; " in run.stderr


def test_touch_reruns_nothing(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.age()
    for path in [*project.root.glob("*.*"), *project.root.glob("pipeline/**/*.py"), *project.root.glob("stages/*.py")]:
        if path.name != "requirements.lock":
            path.touch()
    assert project.make().stdout == NOTHING


def test_a_removed_artifact_is_made_again_with_what_follows(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    os.rename(project.build / "encoded", project.build / "gone")
    assert project.planned() == project.told_stale() == ["encode", "train", "evaluate", "register"]
    assert project.planned("tokenizer") == []


@pytest.mark.parametrize("stage", ["download", "tokenizer", "encode", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_what_is_made_again_the_same_costs_nothing_that_follows(finished: Finished, tmp_path: Path, stage: str) -> None:
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.manifest(stage).parent)
    run = project.make(stage)
    assert run.returncode == 0, run.stderr
    assert project.planned() == project.told_stale() == []
    assert project.make().stdout == NOTHING


@pytest.mark.slow
def test_what_make_starts_though_all_it_is_made_of_is_the_same_is_kept(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.age()
    for stage in ("download", "encode"):
        project.manifest(stage).touch()
    assert project.told_stale() == []
    weights = (project.build / "model/weights.safetensors").stat()
    run = project.make()
    assert run.returncode == 0, run.stderr
    kept = [f"build/smoke/{DIRECTORIES[stage]} is kept: " for stage in list(SECTIONS)[1:-1]]  # register asks MLflow
    assert [line for line in run.stdout.splitlines() if line.startswith(tuple(kept))] == [
        line + "it was made of the same settings, code and inputs" for line in kept
    ]
    assert (project.build / "model/weights.safetensors").stat() == weights
    assert project.make().stdout == NOTHING


def test_a_damaged_artifact_is_not_kept(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.age()
    project.manifest("download").touch()
    (project.build / "tokenizer/joint.model").write_bytes(b"")
    assert project.told_stale()[0] == "tokenizer"
    run = project.make("tokenizer")
    assert run.returncode == 0, run.stderr
    assert "is kept" not in run.stdout
    assert project.told_stale() == []


def test_status_tells_what_runs_and_what_is_damaged(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    weights = project.build / "model/weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    project.manifest("encode").write_text("{}", encoding="utf-8")
    with hold(project.build, "register"):
        lines = project.make("status").stdout.splitlines()[1:]
    told = dict(line.split(maxsplit=1) for line in lines)
    assert told["train"] == (
        "damaged: build/smoke/model/weights.safetensors differs from its sha256 in manifest.json; "
        "remove build/smoke/model and run: make train EXP=smoke"
    )
    assert told["encode"] == (
        "damaged: build/smoke/encoded/manifest.json is damaged (not as it was written); "
        "remove build/smoke/encoded and run: make encode EXP=smoke"
    )
    assert re.fullmatch(rf"running: process {os.getpid()} on .*, since .*", told["register"])


def test_status_tells_of_other_versions_and_calls_nothing_stale(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    made_with = json.loads(project.manifest("train").read_bytes())["made_with"]
    assert {"torch", "accelerate", "sentencepiece", "sacrebleu", "python"} <= made_with["libraries"].keys()
    assert {"processor", "precision", "threads", "device"} <= made_with["machine"].keys()
    now = made_with["libraries"]["torch"]
    made_with["libraries"] |= {"torch": "1.0", "gone": "2.0"}
    rewrite_manifest(project.build / "model", made_with=made_with)
    told = project.make("status").stdout
    assert f"  train      fresh (made with gone 2.0, now not installed; torch 1.0, now {now})" in told or (
        f"  train      fresh (made with torch 1.0, now {now}; gone 2.0, now not installed)" in told
    )
    assert project.planned() == []


def test_status_says_why(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2")
    lines = project.make("status").stdout
    assert re.search(r"^  train +stale: train\.learning_rate: 0\.01 -> 0\.02$", lines, re.MULTILINE)
    assert re.search(r"^  evaluate +stale: after train$", lines, re.MULTILINE)


def test_a_fresh_clone_plans_everything_and_a_dry_run_makes_nothing(project: Project) -> None:
    assert project.planned() == list(SECTIONS)
    assert project.make("-q").returncode == 1
    (project.root / ".venv/.installed").unlink()
    before = sorted(project.root.rglob("*"))
    dry = project.make("-n").stdout
    assert dry.index("stages/install.py") < dry.index("-m stages.download")
    assert stages_in(dry) == list(SECTIONS)
    assert sorted(project.root.rglob("*")) == before


def test_an_unknown_experiment_is_told_with_those_that_exist(project: Project) -> None:
    run = project.make(EXP="lstn")
    assert run.returncode == 2
    assert re.search(r"no experiments/lstn\.yaml; EXP may be: .*smoke", run.stderr)
    assert not (project.root / "build/lstn").exists()


@pytest.mark.parametrize(
    "name", ["my exp", "smoke default", "smo%", "../smoke", "$(shell touch run)smoke", "`touch run`"]
)
def test_an_experiment_is_one_name_and_nothing_that_make_or_a_shell_reads(project: Project, name: str) -> None:
    run = project.make("-n", EXP=name)
    typed = project.make("-n", f"EXP={name}", EXP="")
    for told in (run, typed):
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr.startswith("Makefile:")
        assert told.stderr.count("\n") == 1
        assert f"no experiments/{name}.yaml; EXP may be: " in told.stderr
    assert not (project.root / "run").exists()


@pytest.mark.parametrize(
    ("goals", "typed", "unread"),
    [
        ("", "exp=mine", "exp"),
        ("train", "epochs=3", "epochs"),
        ("translate", "FILE=text.txt", "FILE"),
        ("translate", "ATTENTION=1", "ATTENTION"),
        ("serve", "VERSION=3", "VERSION"),
        ("download train", "TEXT=x", "TEXT"),
        ("help", "CORPUS=/data", "CORPUS"),
        ("clean", "a'b=1", "a'b"),
    ],
)
def test_a_variable_that_nobody_reads_is_told(project: Project, goals: str, typed: str, unread: str) -> None:
    run = project.make("-n", *goals.split(), typed)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.search(
        rf"\*\*\* make {goals or 'all'} reads no variable {unread}, but: EXP .* before the command: {unread}=",
        run.stderr,
    )


def test_a_variable_that_the_settings_name_or_a_goal_reads_is_taken(project: Project) -> None:
    assert project.make("-n", "train", "NPROC=2").returncode == 0
    assert project.make("-n", "status", "review", "NPROC=2", "VERSION=1").returncode == 0
    assert project.make("-n", "download", "CORPUS=/data").returncode == 2
    project.edit("experiments/smoke.yaml", "{train: build/smoke-corpus/train.tsv}", "{train: '${CORPUS}/train.tsv'}")
    told = project.make("-n", "download", "CORPUS=build/smoke-corpus")
    assert (told.returncode, told.stderr) == (0, "")
    (project.root / "experiments/more.yaml").write_text("extends: smoke\n", encoding="utf-8")
    assert project.make("-n", "download", "CORPUS=build/smoke-corpus", EXP="more").returncode == 0


def test_wrong_settings_are_told_before_anything_runs(project: Project) -> None:
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


def test_translate_without_a_model_says_what_to_run(project: Project) -> None:
    run = project.make("translate", "TEXT=Tha felp.")
    assert (run.returncode, run.stdout) == (2, "")
    assert "error: build/smoke/model/manifest.json is missing; run: make train EXP=smoke" in run.stderr


def test_translate_prints_a_line_for_a_line_and_nothing_else(finished: Finished) -> None:
    sentences = ["Tha felp walpes tha lond.", "", "Tha tisk bindes tha plum noly.", "   "]
    lines = finished.make("translate", stdin="\n".join(sentences)).stdout.split("\n")
    assert [bool(line) for line in lines] == [True, False, True, False, False]
    assert finished.make("translate", f"TEXT={sentences[0]}").stdout == lines[0] + "\n"


def test_the_text_reaches_translate_as_it_was_typed(finished: Finished, tmp_path: Path) -> None:
    """Were any of it read by Make or a shell, the translation would differ from that of standard input."""
    text = """It's "$HOME" `echo x` $(shell echo y) $$ ${PATH} \\n # % * 100 € ; tha felp"""
    typed = finished.make("translate", f"TEXT={text}")
    assert typed.returncode == 0
    assert typed.stdout == finished.make("translate", stdin=text + "\n").stdout
    show = tmp_path / "show.mk"
    show.write_text('include Makefile\nshow: ; @printf "%s" "$$TEXT"\n', encoding="utf-8")
    assert finished.make("-f", str(show), "show", f"TEXT={text}").stdout == text


@pytest.mark.slow
def test_a_reader_who_has_seen_enough_is_no_failure(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    lines = "Tha felp walpes tha lond.\n" * 9000  # more than one block, and than a pipe holds
    for command, shown in (("translate", 1), ("status", 0)):
        make = subprocess.Popen(
            ["make", command], cwd=project.root, env=project.environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert make.stdin
        assert make.stdout
        assert make.stderr
        feeder = threading.Thread(target=feed, args=(make.stdin, lines.encode()))
        feeder.start()
        for _ in range(shown):
            assert make.stdout.readline().endswith(b"\n")
        make.stdout.close()
        assert (make.wait(timeout=120), make.stderr.read()) == (0, b"")
        feeder.join()


def feed(pipe: IO[bytes], text: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(text)


def test_input_that_is_not_text_is_told(finished: Finished) -> None:
    run = subprocess.run(
        ["make", "translate"], cwd=finished.root, env=finished.environment(), input=b"a\n\xff\n", capture_output=True
    )
    assert run.returncode == 2
    assert b"error: standard input is not UTF-8" in run.stderr
    assert b"Traceback" not in run.stderr


def test_killed_in_training_make_goes_on_and_repeats_nothing(finished: Finished) -> None:
    check_kills([finished.kill])
    last = finished.kill.whole
    assert stages_in(finished.log) == [stage for stage in SECTIONS if stage not in last]
    assert {stage: finished.manifest(stage).stat().st_mtime_ns for stage in last} == last
    assert not list(finished.build.glob("*.tmp"))
    assert re.search(r"^train: going on after step [1-9]", finished.log, re.MULTILINE)


def test_killed_in_training_it_ends_as_undisturbed(finished: Finished, tmp_path: Path) -> None:
    """The short form of tests/test_faults.py."""
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.build / "model")
    assert project.make("train").returncode == 0
    undisturbed, killed = outcome(project), outcome(finished)
    assert undisturbed["files"] == killed["files"]
    assert undisturbed["metrics"] == killed["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("begun", [True, False], ids=["as it begins to write", "in the middle"])
def test_killed_in_every_stage_make_goes_on_and_repeats_nothing(project: Project, begun: bool) -> None:
    check_kills([kill_in(project, stage, f"{DIRECTORIES[stage]}.tmp" if begun else None) for stage in SECTIONS])
    assert project.make().returncode == 0
    assert project.make().stdout == NOTHING
    assert not list(project.build.glob("*.tmp"))


def check_kills(kills: list[Kill]) -> None:
    """Each make began where the one before was killed, ran no finished stage again and planned what was missing."""
    before: dict[str, int] = {}
    for kill in kills:
        ran = stages_in(kill.log)
        assert kill.stage in ran
        assert ran == [stage for stage in SECTIONS if stage not in before][: len(ran)]
        assert before.items() <= kill.whole.items()
        assert set(ran[:-1]) <= kill.whole.keys()
        # A version in the making is in MLflow, until the stage writes here as the others do.
        unfinished = "(interrupted|never run)" if kill.stage == "register" else "interrupted"
        state = "fresh" if kill.stage in kill.whole else unfinished
        assert re.search(rf"^  {kill.stage} +{state}$", kill.status, re.MULTILINE)
        assert kill.planned == [stage for stage in SECTIONS if stage not in kill.whole]
        before = kill.whole


@pytest.mark.slow
def test_a_changed_learning_rate_trains_evaluates_and_registers_again(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2")
    run = project.make()
    assert run.returncode == 0, run.stderr
    assert stages_in(run.stdout) == ["train", "evaluate", "register"]
    assert project.make().stdout == NOTHING
    assert project.told_stale() == []


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    os.rename(project.build / "model", project.build / "of_one")
    run = project.make("train", "NPROC=2")
    assert run.returncode == 0, run.stderr
    one, two = (json.loads((project.build / name / "manifest.json").read_bytes()) for name in ("of_one", "model"))
    assert one["stamp"] == two["stamp"]
    assert two["facts"]["validation_loss"] == pytest.approx(one["facts"]["validation_loss"], abs=5e-4)
    assert project.planned("train") == []


@pytest.mark.parametrize(("name", "sign"), [("50%", "%"), ("a:b", ":"), ("two\nlines", "newline")])
def test_a_path_with_which_nothing_would_work_is_refused_at_once(tmp_path: Path, name: str, sign: str) -> None:
    (tmp_path / name).mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path / name)
    run = subprocess.run(["make", "-n"], cwd=tmp_path / name, capture_output=True, text=True)
    assert (run.returncode, f" has a {sign} in it" in run.stderr, len(run.stderr.splitlines())) == (2, True, 1)


@pytest.mark.slow
def test_what_is_gone_from_the_registry_is_registered_anew_by_make_register(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    before = read_json(project.manifest("register"))["facts"]
    assert project.make("-q").returncode == 0
    for made_anew in (False, True):
        client = MlflowClient(local_uri(project.root / "build"))
        if made_anew:
            client.delete_registered_model("smoke")
        run = project.make("register")
        assert run.returncode == 0, run.stdout + run.stderr
        assert "registered smoke version 1 in sqlite" in run.stdout
        after = read_json(project.manifest("register"))["facts"]
        assert after == before
        assert len(client.search_model_versions("name = 'smoke'")) == 1
