"""Training in several processes and on several machines gives the same model, even if a process dies."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.faults import small_project
from tests.mlflow_server import unused_port
from tests.project import Finished, Project

FIFTY_STEPS = {  # of 1,000 target tokens, in four micro-batches; fp32, so that rounding is fp32's
    "precision: auto": "precision: fp32",
    "micro_batch_tokens: 500": "micro_batch_tokens: 250",
}

# With more shards, each process reads its share of them.
ONE_SHARD_OR_MORE = [
    pytest.param({}, id="one-shard"),
    pytest.param({"train:\n": "encode: {shard_pairs: 400}\ntrain:\n"}, id="shards"),
]


def replaced(project: Project, changes: dict[str, str]) -> Project:
    for old, new in changes.items():
        project.edit("experiments/smoke.yaml", old, new)
    return project


def weights(project: Project, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(project.build / name / "weights.safetensors")


def start(project: Project, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `make train` in the background. Its output goes to a file named after the arguments."""
    with open(project.root / f"{'.'.join(arguments).replace('/', '_')}.log", "wb") as log:
        return subprocess.Popen(
            ["make", "train", *arguments], cwd=project.root, env=project.environment(), stdout=log, stderr=log
        )


def kill_one(make: subprocess.Popen[bytes], module: str) -> None:
    """Kill the last process of `make` that runs a module."""
    found = [p for p in psutil.Process(make.pid).children(recursive=True) if module in p.cmdline()]
    found[-1].kill()


@pytest.mark.slow
def test_an_error_of_all_processes_is_printed_once_and_ends_them(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.build / "model")
    run = project.make("train", "NPROC=3")
    assert run.returncode == 2
    told = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    assert told == [
        "error: 3 processes cannot share the 2 micro-batches of a step; "
        "lower train.micro_batch_tokens to 333 or less (train.batch_tokens / NPROC)"
    ]


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_within_seconds_and_is_printed_once(
    finished: Finished, tmp_path: Path
) -> None:
    """The main process cannot save its checkpoint, while the other one waits for it."""
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.build / "model")
    (project.build / "model.training").mkdir()
    (project.build / "model.training/checkpoints").write_text("in the way", encoding="utf-8")
    begun = time.monotonic()
    run = project.make("train", "NPROC=2")
    assert time.monotonic() - begun < 240  # the processes would wait 15 minutes for each other
    assert run.returncode == 2
    assert run.stderr.count("error: ") == 1
    assert re.search(r"^error: .*model.training/checkpoints", run.stderr, re.MULTILINE)
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "NODES=2", "MASTER=here"], r"error: MASTER: got 'here', expected host:port"),
        (
            ["NODES=2", "NODE_RANK=1", "MASTER=127.0.0.1:1"],
            r"NODE_RANK=1: this machine can only join machine 0 in training",
        ),
        (["train", "NODES=2", "MASTER=here:70000"], r"error: MASTER: got 'here:70000', expected host:port"),
        (["train", "NODE_RANK=1"], r"error: NODE_RANK: got 1, expected at most 0 with NODES=1"),
        (
            ["train", "NODES=2", "NODE_RANK=2", "MASTER=a:1"],
            r"error: NODE_RANK: got 2, expected at most 1 with NODES=2",
        ),
        (["train", "NPROC=two"], r"NPROC: got 'two', expected a whole number"),
        (["NPROC="], r"NPROC: got '', expected a whole number"),
        (["translate", "NPROC=1 2"], r"NPROC: got '1 2', expected a whole number"),
        (["NPROC=0"], r"NPROC: got '0', expected at least 1"),
        (["NODES=0"], r"NODES: got '0', expected at least 1"),
        (["RESTARTS=-1"], r"RESTARTS: got '-1', expected a whole number"),
    ],
)
def test_a_wrong_number_of_processes_or_machines_is_an_error(
    finished: Finished, tmp_path: Path, arguments: list[str], told: str
) -> None:
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.build / "model")
    run = project.make(*arguments)
    assert run.returncode == 2
    assert re.search(told, run.stderr)
    assert "Traceback" not in run.stderr
    assert not (project.build / "model").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encode", ONE_SHARD_OR_MORE)
def test_other_processes_and_accumulation_change_only_rounding(
    finished: Finished, tmp_path: Path, encode: dict[str, str]
) -> None:
    """One process with 4 micro-batches per step, 2 with 2 and 4 with 1 add the same gradients in another order.

    A difference in the last of 24 bits grows in each step, because Adam divides by small numbers. After 50 steps, 1e-5
    of the largest weight is allowed (seen: 4e-7).
    """
    project = replaced(finished.copy_to(tmp_path), FIFTY_STEPS | encode | {"epochs: 3": "epochs: 1"})
    scores = {}
    for processes in (1, 2, 4):
        shutil.rmtree(project.build / "model")
        run = project.make("evaluate", f"NPROC={processes}")
        assert run.returncode == 0, run.stderr
        shutil.copytree(project.build / "model", project.build / f"of{processes}")
        scores[processes] = (project.build / "evaluation/metrics.json").read_bytes()
    one = weights(project, "of1")
    largest = max(float(tensor.abs().max()) for tensor in one.values())
    for processes in (2, 4):
        other = weights(project, f"of{processes}")
        differences = [float((one[name] - other[name]).abs().max()) for name in one]
        print(f"{processes} processes: largest difference {max(differences):.1e} of {largest:.2f}")
        assert max(differences) < 1e-5 * largest
    assert scores[1] == scores[2] == scores[4]


@pytest.mark.slow
@pytest.mark.parametrize("encode", ONE_SHARD_OR_MORE)
def test_training_continues_with_another_number_of_processes(
    finished: Finished, tmp_path: Path, encode: dict[str, str]
) -> None:
    """Each of the first two trainings stops after its first step, because its time is over by then."""
    project = replaced(finished.copy_to(tmp_path), encode | {"precision: auto": "precision: fp32"})
    shutil.rmtree(project.build / "model")
    assert project.make("train").returncode == 0
    shutil.move(project.build / "model", project.build / "undisturbed")
    no_time = "  max_minutes: 0.0001\n"
    project.edit("experiments/smoke.yaml", "train:\n", f"train:\n{no_time}")
    told = []
    for processes in (2, 1):
        run = project.make("train", f"NPROC={processes}")
        assert run.returncode == 2
        assert re.search(r"^train: stopped by train.max_minutes .* a checkpoint is saved", run.stderr, re.MULTILINE)
        told.append(run.stderr)
    project.edit("experiments/smoke.yaml", no_time, "")
    last = project.make("train", "NPROC=2")
    assert last.returncode == 0, last.stderr
    assert re.search(r"continuing after step 1 \(epoch 1\)\ntrain: now with 1 processes, before with 2", told[1])
    assert re.search(r"continuing after step 2 \(epoch 1\)\ntrain: now with 2 processes, before with 1", last.stderr)
    one, other = weights(project, "undisturbed"), weights(project)
    largest = max(float(tensor.abs().max()) for tensor in one.values())
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 2e-4 * largest


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project, trained by two processes without an interruption."""
    project = small_project(tmp_path_factory.mktemp("two"))
    run = project.make("train", "NPROC=2")
    assert run.returncode == 0, run.stderr
    return project


@pytest.mark.slow
def test_a_killed_process_is_restarted_and_the_model_is_the_same(two_processes: Project, tmp_path: Path) -> None:
    project = two_processes.copy_to(tmp_path)
    shutil.move(project.build / "model", project.build / "undisturbed")
    make = start(project, "NPROC=2")
    project.wait_for_checkpoint()
    kill_one(make, "stages.elastic_worker")
    assert make.wait(timeout=120) == 0
    log = (project.root / "NPROC=2.log").read_text(encoding="utf-8")
    assert re.search(r"^train: a process died; all were restarted \(restart 1\)$", log, re.MULTILINE)
    assert "Traceback" not in log
    assert project.has_the_weights_of("undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("lost", [None, 0, 1])
def test_two_machines_train_the_same_model_as_two_processes_of_one(
    two_processes: Project, tmp_path: Path, lost: int | None
) -> None:
    """Two launches connect over loopback; one is killed and started again, as a scheduler would do."""
    project = two_processes.copy_to(tmp_path)
    shutil.move(project.build / "model", project.build / "undisturbed")
    common = ["NPROC=1", "NODES=2", f"MASTER=127.0.0.1:{unused_port()}"]
    makes = [start(project, *common, f"NODE_RANK={machine}") for machine in (0, 1)]
    if lost is not None:
        project.wait_for_checkpoint()
        kill_one(makes[lost], "stages.launch")
        makes[lost].wait(timeout=60)
        if lost == 0:  # it hosts the rendezvous: the other one ends too, and both are started again
            makes[1].wait(timeout=120)
            makes[1] = start(project, *common, "NODE_RANK=1")
        makes[lost] = start(project, *common, f"NODE_RANK={lost}")
    assert [make.wait(timeout=180) for make in makes] == [0, 0]
    assert project.has_the_weights_of("undisturbed")
