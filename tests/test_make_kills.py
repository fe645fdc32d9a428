"""A `make` that was killed continues, repeats no finished stage, and ends with the same result."""

import re
import shutil
from pathlib import Path

import pytest

from pipeline.plumbing.stamps import SECTIONS
from tests.faults import outcome
from tests.project import DIRECTORIES, NOTHING, Finished, Kill, Project, kill_in, stages_in


def test_make_continues_after_a_kill_in_training_and_repeats_no_stage(finished: Finished) -> None:
    check_kills([finished.kill])
    last = finished.kill.whole
    assert stages_in(finished.log) == [stage for stage in SECTIONS if stage not in last]
    assert {stage: finished.manifest(stage).stat().st_mtime_ns for stage in last} == last
    assert not list(finished.build.glob("*.tmp"))
    assert re.search(r"^train: continuing after step [1-9]", finished.log, re.MULTILINE)


def test_a_training_that_was_killed_ends_with_the_same_result(finished: Finished, tmp_path: Path) -> None:
    """The short form of tests/test_faults.py."""
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.build / "model")
    assert project.make("train").returncode == 0
    undisturbed, killed = outcome(project), outcome(finished)
    assert undisturbed["files"] == killed["files"]
    assert undisturbed["metrics"] == killed["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("begun", [True, False], ids=["as it begins to write", "in the middle"])
def test_make_continues_after_a_kill_in_each_stage_and_repeats_no_stage(project: Project, begun: bool) -> None:
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
