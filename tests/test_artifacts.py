"""Publishing an artifact: its digest, its time, and that its files are on the disk before it is renamed."""

import os
from pathlib import Path

import pytest

from pipeline.plumbing.artifacts import MANIFEST, open_artifact, publish
from pipeline.plumbing.facts import Execution, Facts


def test_files_are_synced_to_disk_before_the_rename_and_the_directory_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the system calls. Whether a disk obeys them is not tested."""
    asked: list[str] = []
    sync, rename = os.fsync, os.rename

    def note_sync(descriptor: int) -> None:
        asked.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).relative_to(tmp_path)}")
        sync(descriptor)

    def note_rename(old: Path, new: Path) -> None:
        asked.append(f"rename {old.relative_to(tmp_path)}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    with publish(tmp_path / "model", {}, {}) as draft:
        (draft.directory / "weights").write_bytes(b"1")
        (draft.directory / "more").mkdir()
        (draft.directory / "more/weights").write_bytes(b"2")
    *synced, renamed, after = asked
    assert sorted(synced) == sorted(
        [
            "sync model.tmp",
            "sync model.tmp/more",
            "sync model.tmp/more/weights",
            "sync model.tmp/weights",
            f"sync model.tmp/{MANIFEST}",
            f"sync model.tmp/{MANIFEST}.{os.getpid()}.tmp",
        ]
    )
    assert (renamed, after) == ("rename model.tmp", "sync .")
    assert open_artifact(tmp_path / "model", "train").files.keys() == {"weights", "more/weights"}


class ToyFacts(Facts):
    pairs: int


class ToyExecution(Execution):
    seconds: float


def test_a_digest_depends_on_the_content_and_not_on_the_execution(tmp_path: Path) -> None:
    digests = []
    for name, seconds, content in (("a", 1.0, "x"), ("b", 2.0, "x"), ("c", 1.0, "y")):
        with publish(tmp_path / name, {}, {"params": {"name": name}}) as draft:
            draft.facts = ToyFacts(pairs=3)
            draft.execution = ToyExecution(seconds=seconds)
            draft.execution_files.add("run.json")
            draft.made_with["python"] = name
            (draft.directory / "run.json").write_text(name, encoding="utf-8")
            (draft.directory / "weights").write_text(content, encoding="utf-8")
        artifact = open_artifact(tmp_path / name, "train")
        assert artifact.path("run.json").read_text() == name
        digests.append(artifact.digest)
    assert digests[0] == digests[1] != digests[2]


def test_what_changes_while_a_stage_runs_is_newer_than_its_artifact(tmp_path: Path) -> None:
    prerequisite = tmp_path / "stamp.json"
    prerequisite.touch()
    started = prerequisite.stat().st_mtime_ns
    with publish(tmp_path / "model", {}, {}, started):
        os.utime(prerequisite, ns=(started + 1, started + 1))
    assert (tmp_path / "model/manifest.json").stat().st_mtime_ns < prerequisite.stat().st_mtime_ns
