"""Experiments with the same data share their corpus, tokenizer and encoded text."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.experiments.catalogue import all_experiments, experiment_of, settings_files
from pipeline.plumbing.artifacts import experiment_option, open_artifact, publish, publish_copy
from pipeline.plumbing.disk import size_of
from pipeline.plumbing.errors import UserError
from tests.project import Finished, Project

SHARED = ("corpus", "tokenizer", "encoded")


@pytest.fixture(scope="module")
def both(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two experiments have the same data. Only the first of them was trained."""
    project = finished.copy_to(tmp_path_factory.mktemp("sharing"))
    laid = replace(project, experiment="dot", data="smoke")
    run = laid.make("encode")
    assert run.returncode == 0, run.stderr
    for name in SHARED:
        assert f"build/dot@smoke/{name} is the same as build/smoke/{name}: same settings, code and inputs" in run.stdout
    assert "download: qaa to qab" not in run.stdout
    return Project(project.root)


def test_equal_artifacts_share_their_files_but_not_the_times_of_their_manifests(both: Project) -> None:
    for name in SHARED:
        one, other = (open_artifact(both.root / f"build/{home}/{name}", "x") for home in ("smoke", "dot@smoke"))
        assert one.manifest == other.manifest
        for file in one.files:
            assert one.path(file).stat().st_ino == other.path(file).stat().st_ino
        inodes = {(artifact.directory / "manifest.json").stat().st_ino for artifact in (one, other)}
        assert len(inodes) == 2
    laid = replace(both, experiment="dot", data="smoke")
    assert (both.planned(), laid.planned()) == ([], ["train", "evaluate", "register"])
    assert laid.told_stale() == ["train", "evaluate", "register"]


def test_the_size_of_an_experiment_is_what_deleting_it_frees(both: Project) -> None:
    homes = [both.root / "build" / name for name in ("smoke", "dot@smoke")]
    shared = sum(file.stat().st_size for file in homes[0].rglob("*") if file.is_file() and file.stat().st_nlink == 2)
    assert shared > 0
    assert size_of(*homes) == size_of(homes[0]) + size_of(homes[1]) + shared
    assert size_of(homes[1]) == sum(
        file.stat().st_size for file in homes[1].rglob("*") if file.is_file() and file.stat().st_nlink == 1
    )


def test_what_remains_after_the_other_is_deleted_is_whole(both: Project, tmp_path: Path) -> None:
    project = both.copy_to(tmp_path)
    assert project.make("clean", FORCE="1").returncode == 0
    assert not project.build.exists()
    laid = replace(project, experiment="dot", data="smoke")
    assert laid.planned() == ["train", "evaluate", "register"]
    for name in SHARED:
        open_artifact(laid.build / name, "x")
    assert laid.make("status").returncode == 0


def test_a_stage_with_other_settings_or_a_damaged_twin_makes_its_own(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    text = "tokenizer: {vocabulary_size: 600}\n"
    (project.root / "experiments/fewer.yaml").write_text(text, encoding="utf-8")
    fewer = replace(project, experiment="fewer", data="smoke")
    run = fewer.make("encode")
    assert run.returncode == 0
    assert [name for name in SHARED if f"build/fewer@smoke/{name} is the same as" in run.stdout] == ["corpus"]
    path = project.build / "tokenizer/joint.model"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    run = replace(project, experiment="dot", data="smoke").make("encode")
    assert run.returncode == 0
    # The tokenizer is made again. It is the same, so the text that was encoded with it is shared.
    assert [name for name in SHARED if f"build/dot@smoke/{name} is the same as" in run.stdout] == ["corpus", "encoded"]


def test_without_hard_links_the_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with publish(tmp_path / "a/corpus", {}, {"params": {}}) as draft:
        (draft.directory / "folder").mkdir()
        (draft.directory / "folder/text").write_text("text", encoding="utf-8")
        (draft.directory / "log").write_text("log", encoding="utf-8")
        draft.execution_files.add("log")

    def refuse(*arguments: object) -> None:
        raise OSError("this file system has no hard links")

    monkeypatch.setattr(os, "link", refuse)
    with publish(tmp_path / "b/corpus", {}, {}):
        pass
    (tmp_path / "b/corpus.tmp").mkdir()  # left by a process that was killed
    manifest = open_artifact(tmp_path / "a/corpus", "x").manifest
    publish_copy(manifest, tmp_path / "a/corpus", tmp_path / "b/corpus", started=10**18)
    copy = open_artifact(tmp_path / "b/corpus", "x")
    assert copy.manifest == manifest
    assert copy.path("folder/text").read_text(encoding="utf-8") == "text"
    assert (tmp_path / "b/corpus/manifest.json").stat().st_mtime_ns == 10**18
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["corpus"]


def test_files_that_another_process_replaces_are_not_published(tmp_path: Path) -> None:
    for name, text in (("a", "old"), ("b", "mine")):
        with publish(tmp_path / f"{name}/corpus", {}, {}) as draft:
            (draft.directory / "text").write_text(text, encoding="utf-8")
    manifest = open_artifact(tmp_path / "a/corpus", "x").manifest
    with publish(tmp_path / "a/corpus", {}, {}) as draft:
        (draft.directory / "text").write_text("new", encoding="utf-8")
    with pytest.raises(UserError, match="differs from its sha256"):
        publish_copy(manifest, tmp_path / "a/corpus", tmp_path / "b/corpus", started=0)
    shutil.rmtree(tmp_path / "a/corpus")
    with pytest.raises(FileNotFoundError):
        publish_copy(manifest, tmp_path / "a/corpus", tmp_path / "b/corpus", started=0)
    assert open_artifact(tmp_path / "b/corpus", "x").path("text").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["corpus"]


def test_the_name_of_an_experiment_says_what_to_type_and_which_files_it_has(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    for name in ("dot", "smoke"):
        (tmp_path / f"experiments/{name}.yaml").touch()
    for name in ("dot@smoke", "smoke", "gone@smoke", "wheels"):
        (tmp_path / "build" / name).mkdir(parents=True)
    assert all_experiments(tmp_path, tmp_path / "build") == ["default", "dot", "dot@smoke", "smoke"]
    files = settings_files(Path(), "dot@smoke")
    assert list(map(str, files)) == ["params.yaml", "experiments/smoke.yaml", "experiments/dot.yaml"]
    for name, option in (("default", ""), ("dot", " EXP=dot"), ("dot@smoke", " EXP=dot DATA=smoke")):
        assert experiment_option(name) == option
        assert experiment_of(settings_files(Path(), name)) == name


def test_the_experiments_that_were_laid_over_others_are_listed_and_kept(both: Project, tmp_path: Path) -> None:
    project = both.copy_to(tmp_path)
    told = project.make("experiments").stdout
    assert "  dot@smoke " in told
    assert "attention dot" in told
    assert "dot@smoke" not in project.make("gc").stdout
    (project.root / "experiments/dot.yaml").unlink()
    shutil.rmtree(project.root / "build/dot@smoke/encoded")
    freed = project.make("gc").stdout
    assert "experiments/dot.yaml or experiments/smoke.yaml is missing" in freed
