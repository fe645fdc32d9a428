"""`make gc`: the files that it removes, and above all those that it keeps."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.data.sources.packages import PACKAGES
from pipeline.experiments.garbage import DAY, Garbage, find_garbage
from pipeline.plumbing.lock import hold
from pipeline.plumbing.params import DownloadSettings
from pipeline.plumbing.tracking.local_store import local_uri
from pipeline.registry.versions import EXPERIMENT, makers
from tests.experiments import publish_evaluated
from tests.project import Finished, Project
from tests.registered import MODEL
from tests.test_clean import begin_training

WHEELS = DownloadSettings(source="wheels", source_language="en", target_language="de")
HUB = DownloadSettings.model_validate(
    {"source": "hub", "source_language": "en", "target_language": "de", "hub": {"dataset": "some/corpus"}}
)


def garbage(build: Path, *names: str, **versions: list[str]) -> Garbage:
    """Return the garbage if only the experiments with these names have a file."""
    return find_garbage(build, {"default": WHEELS, "hub": HUB, **dict.fromkeys(names, WHEELS)}, versions)


def names(build: Path, found: dict[Path, str]) -> list[str]:
    return sorted(str(path.relative_to(build)) for path in found)


def test_leftovers_of_dead_processes_are_free(tmp_path: Path) -> None:
    home = publish_evaluated(tmp_path, "mine")
    begin_training(home, 20, 40)
    for name in ("model.tmp", "corpus.old", "encoded.old", "model.training/checkpoints/000000060.tmp", "unsent.tmp"):
        (home / name).mkdir()
    (home / "lock.json.99.tmp").touch()
    (home / "stamps").mkdir()
    for name, age in (("train.json.1.tmp", 2 * DAY), ("train.json.2.tmp", 0)):
        (home / "stamps" / name).touch()
        written = (home / "stamps" / name).stat().st_mtime - age
        os.utime(home / "stamps" / name, (written, written))
    shutil.rmtree(home / "encoded")  # killed between two renames: the old one is the only one
    (tmp_path / ".gone.removed").mkdir()
    found = garbage(tmp_path, "mine")
    assert found.kept == {}
    assert names(tmp_path, found.free) == [
        ".gone.removed",
        "mine/corpus.old",
        "mine/lock.json.99.tmp",
        "mine/model.tmp",
        "mine/model.training/checkpoints/000000060.tmp",
        "mine/stamps/train.json.1.tmp",
        "mine/unsent.tmp",
    ]


def test_what_a_process_works_on_is_kept(tmp_path: Path) -> None:
    for name in ("mine", "gone"):
        (publish_evaluated(tmp_path, name) / "model.tmp").mkdir()
    (tmp_path / "hub/datasets--an--other").mkdir(parents=True)
    with hold(tmp_path / "mine", "train"), hold(tmp_path / "gone", "train"):
        found = garbage(tmp_path, "mine")
        assert found.free == {}
        assert names(tmp_path, found.kept) == ["gone", "hub", "mine"]
        assert f"in use by train, process {os.getpid()}" in found.kept[tmp_path / "mine"]
    assert names(tmp_path, garbage(tmp_path, "mine").free) == ["gone", "hub/datasets--an--other", "mine/model.tmp"]


def test_outputs_without_an_experiment_are_free_unless_a_version_or_a_training_needs_them(tmp_path: Path) -> None:
    for name in ("gone", "registered", "training"):
        publish_evaluated(tmp_path, name)
    begin_training(tmp_path / "training", 20)
    (tmp_path / "smoke-corpus").mkdir()  # no experiment's
    found = garbage(tmp_path, registered=["x version 1", "x version 2"])
    assert found.free == {tmp_path / "gone": "there is no experiments/gone.yaml"}
    assert found.kept[tmp_path / "registered"] == "x version 1, x version 2 were made from it"
    assert "a training that is not finished" in found.kept[tmp_path / "training"]


def test_downloads_that_no_experiment_reads_are_free(tmp_path: Path) -> None:
    german = next(p.wheel for p in PACKAGES if p.languages.keys() == {"de"})
    french = next(p.wheel for p in PACKAGES if p.languages.keys() == {"fr"})
    (tmp_path / "wheels/tmpx").mkdir(parents=True)
    for wheel in (german, french, "horizon-1.0-py3-none-any.whl"):
        (tmp_path / "wheels" / wheel).touch()
    for dataset in ("some--corpus", "some--other"):
        (tmp_path / f"hub/datasets--{dataset}/blobs").mkdir(parents=True)
        for blob in ("1", "1.2.incomplete"):
            (tmp_path / f"hub/datasets--{dataset}/blobs" / blob).touch()
    assert names(tmp_path, garbage(tmp_path).free) == [
        "hub/datasets--some--corpus/blobs/1.2.incomplete",
        "hub/datasets--some--other",
        "wheels/horizon-1.0-py3-none-any.whl",
        f"wheels/{french}",
        "wheels/tmpx",
    ]


def test_who_made_a_version_is_known_by_its_run_if_its_tag_was_edited(registry: Path) -> None:
    client = MlflowClient(local_uri(registry))
    before = dict(makers(client))
    assert before[f"{MODEL} version 1"] == {"first"}
    client.set_model_version_tag(MODEL, "1", EXPERIMENT, "mine")
    assert dict(makers(client))[f"{MODEL} version 1"] == {"first", "mine"}
    client.delete_model_version(MODEL, "1")
    assert before.keys() - dict(makers(client)).keys() == {f"{MODEL} version 1"}


def test_a_dry_run_lists_and_force_removes(project: Project) -> None:
    home = publish_evaluated(project.root / "build", "gone")
    (project.build / "model.tmp").mkdir(parents=True)
    (project.build / "stamps").mkdir()
    (project.build / "model.tmp/weights").write_bytes(b"x" * 5000)
    run = project.make("gc")
    assert (run.returncode, run.stderr) == (0, "")
    assert re.search(r"^  5.0 kB +build/smoke/model.tmp +left by a process that is dead$", run.stdout, re.MULTILINE)
    assert "there is no experiments/gone.yaml" in run.stdout
    assert run.stdout.endswith("nothing was removed; make gc FORCE=1 removes it\n")
    assert (home.exists(), (project.build / "model.tmp").exists()) == (True, True)
    assert "removed 2 of 2" in project.make("gc", "FORCE=1").stdout
    assert (home.exists(), (project.build / "model.tmp").exists()) == (False, False)
    assert (project.root / "build/smoke-corpus/train.tsv").exists()
    assert project.make("gc").stdout == "nothing to free\n"


def test_settings_that_cannot_be_read_end_it(project: Project) -> None:
    home = publish_evaluated(project.root / "build", "gone")
    (project.root / "experiments/slip.yaml").write_text("train: {epochz: 3}\n", encoding="utf-8")
    run = project.make("gc", "FORCE=1")
    assert (run.returncode, run.stdout) == (2, "")
    assert "experiments/slip.yaml: train.epochz: no such setting" in run.stderr
    assert home.exists()


@pytest.mark.slow
def test_a_store_that_does_not_answer_ends_it(project: Project) -> None:
    home = publish_evaluated(project.root / "build", "gone")
    run = project.make("gc", "FORCE=1", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert (run.returncode, run.stdout) == (2, "")
    assert "MLflow's store http://127.0.0.1:9 cannot be used" in run.stderr
    assert home.exists()


@pytest.mark.slow
def test_what_a_registered_version_was_made_from_is_kept_and_make_goes_on(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    away = tmp_path / "smoke.yaml"
    shutil.move(project.root / "experiments/smoke.yaml", away)
    run = project.make("gc", "FORCE=1", EXP="")
    assert run.returncode == 0, run.stderr
    assert "build/smoke  smoke version 1 was made from it" in run.stdout
    shutil.move(away, project.root / "experiments/smoke.yaml")
    assert project.make("-q").returncode == 0
    MlflowClient(local_uri(project.root / "build")).delete_registered_model("smoke")
    shutil.move(project.root / "experiments/smoke.yaml", away)
    assert "removed 1 of 1" in project.make("gc", "FORCE=1", EXP="").stdout
    assert not project.build.exists()


def test_a_running_process_is_left_alone_by_make(project: Project) -> None:
    home = publish_evaluated(project.root / "build", "gone")
    holding = (
        "import sys; from pathlib import Path; from pipeline.plumbing.lock import hold\n"
        "with hold(Path(sys.argv[1]), 'train'): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holding, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    run = project.make("gc", "FORCE=1")
    assert f"build/gone  in use by train, process {process.pid} on " in run.stdout
    assert (home / "model/manifest.json").exists()
    process.communicate("")
    assert "removed 1 of 1" in project.make("gc", "FORCE=1").stdout
    assert not home.exists()
