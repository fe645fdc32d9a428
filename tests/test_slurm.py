"""Run cluster/slurm.sh on a real SLURM cluster of two nodes: how jobs end, and that the model stays the same."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.plumbing.stamps import SECTIONS
from tests.faults import small_project, whole_stages
from tests.project import Project
from tests.slurm import Slurm, running_slurm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with running_slurm() as slurm:
        yield slurm


@pytest.fixture(scope="module")
def trained(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project, trained by two processes on one machine. The model is in `undisturbed`."""
    project = small_project(tmp_path_factory.mktemp("slurm"))
    project.edit("experiments/smoke.yaml", "epochs: 3", "epochs: 6")  # long enough to interrupt it
    run = project.make("train", "NPROC=2")
    assert run.returncode == 0, run.stderr
    (project.build / "model").rename(project.build / "undisturbed")
    return project


@pytest.fixture
def copied(trained: Project, tmp_path: Path) -> Project:
    """A copy of that project without its model."""
    return trained.copy_to(tmp_path)


def said(project: Project) -> str:
    """Return the job's output."""
    return (project.root / "job.log").read_text(encoding="utf-8")


def test_a_job_on_two_nodes_runs_all_stages_and_trains_the_same_model(slurm: Slurm, copied: Project) -> None:
    told = slurm.wait(slurm.submit(copied))
    assert (told["JobState"], told["Restarts"]) == ("COMPLETED", "0"), said(copied)
    assert whole_stages(copied) == list(SECTIONS)
    assert (copied.build / "summary.txt").exists()
    assert copied.has_the_weights_of("undisturbed")


@pytest.mark.parametrize(
    "interruption",
    [
        pytest.param(["scancel", "--signal=USR1", "--batch"], id="the warning before the time limit"),
        pytest.param(["scancel", "--signal=TERM"], id="preemption: SIGTERM to the steps alone"),
        pytest.param(["scontrol", "requeue"], id="an administrator"),
    ],
)
def test_an_interrupted_job_is_requeued_and_trains_the_same_model(
    slurm: Slurm, copied: Project, interruption: list[str]
) -> None:
    job = slurm.submit(copied)
    copied.wait_for_checkpoint()
    slurm.call(*interruption, job)
    told = slurm.wait(job)
    assert (told["JobState"], told["Restarts"]) == ("COMPLETED", "1"), said(copied)
    assert re.search(r"^train: stopped by SIGTERM after step .* a checkpoint is saved", said(copied), re.MULTILINE)
    assert re.search(r"^train: continuing after step \d+", said(copied), re.MULTILINE)
    assert copied.has_the_weights_of("undisturbed")


def test_a_cancelled_job_stays_cancelled(slurm: Slurm, copied: Project) -> None:
    job = slurm.submit(copied)
    copied.wait_for_checkpoint()
    slurm.call("scancel", job)
    told = slurm.wait(job)
    assert (told["JobState"], told["Restarts"]) == ("CANCELLED", "0"), said(copied)


def test_an_error_fails_the_job_with_its_message(slurm: Slurm, copied: Project) -> None:
    copied.edit("experiments/smoke.yaml", "micro_batch_tokens: 500", "micro_batch_tokens: 1000")
    told = slurm.wait(slurm.submit(copied))
    assert (told["JobState"], told["Restarts"]) == ("FAILED", "0"), said(copied)
    errors = set(re.findall(r"^error: .*", said(copied), re.MULTILINE))
    assert len(errors) == 1, said(copied)
    assert errors.pop().startswith("error: 2 processes cannot share the 1 micro-batches of a step")
    assert "Traceback" not in said(copied)
