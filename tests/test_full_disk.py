"""On a full disk each stage ends with an error and loses nothing; with more space it continues.

The disk is a small one in memory, mounted where only `make` and what it starts see it.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.stamps import SECTIONS
from tests.faults import outcome, small_project
from tests.project import DIRECTORIES, MIDDLE, Project, stages_in

IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
SCRIPT = """
set -u
mount -t tmpfs -o size=100m tmpfs build
cp -a kept/. build
sleep 3; make -n > planned.log # the stamps are settled, so that they are not written when the disk is full
fill() { dd if=/dev/zero of=build/ballast bs=4k 2> ballast.log; }
[ "$1" = train ] || fill
make > full.log 2>&1 & make=$!
if [ "$1" = train ]; then # as soon as there is a checkpoint
    until compgen -G "build/smoke/$2" > matches; do sleep 0.01; done
    fill
fi
wait $make; echo $? > full.status
cp -a build full
rm build/ballast
make > resumed.log 2>&1; echo $? > resumed.status
cp -a build after
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    if subprocess.run([*IN_A_NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk in a namespace of its own")
    project = small_project(tmp_path_factory.mktemp("undisturbed"))
    run = project.make()
    assert run.returncode == 0, run.stderr
    return project


def without(project: Project, stages: list[str]) -> None:
    """Restore the artifacts in `kept`, and remove MLflow's copy of the training."""
    for directory in [*(f"smoke/{DIRECTORIES[stage]}" for stage in stages), "mlartifacts"]:
        shutil.rmtree(project.root / "kept" / directory)
    for file in ("smoke/summary.txt", "mlflow.db"):
        (project.root / "kept" / file).unlink()


def read(project: Project, name: str) -> str:
    return (project.root / name).read_text(encoding="utf-8").strip()


@pytest.mark.slow
@pytest.mark.parametrize("stage", SECTIONS)
def test_a_full_disk_is_an_error_and_a_stage_continues_when_there_is_room(
    undisturbed: Project, tmp_path: Path, stage: str
) -> None:
    project = undisturbed.copy_to(tmp_path)
    project.build.parent.rename(project.root / "kept")
    project.build.parent.mkdir()
    remaining = list(SECTIONS)[list(SECTIONS).index(stage) :]
    without(project, remaining)
    script = [*IN_A_NAMESPACE, "bash", "-c", SCRIPT, "bash", stage, MIDDLE[stage]]
    subprocess.run(script, cwd=project.root, env=project.environment(), timeout=300, check=True)
    told = read(project, "full.log")
    assert read(project, "full.status") == "2", told
    assert stages_in(told) == [stage]
    assert re.search(r"^error: .*(No space left on device|disk is full).*; free some space", told, re.MULTILINE), told
    assert "Traceback" not in told
    for checkpoint in (project.root / "full/smoke/model.training/checkpoints").glob("*[0-9]"):
        open_artifact(checkpoint, "train")
    assert not (project.root / "full/smoke" / DIRECTORIES[stage]).exists()
    assert read(project, "resumed.status") == "0", read(project, "resumed.log")
    shutil.rmtree(project.build.parent)
    (project.root / "after").rename(project.build.parent)
    actual = outcome(project)
    for part, content in outcome(undisturbed).items():
        assert actual[part] == content, part
