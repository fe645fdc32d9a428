"""Publishing: what a power cut would take is on the disk before it counts."""

import os
from pathlib import Path

import pytest

from pipeline.plumbing.artifacts import MANIFEST, open_artifact, publish


def test_all_is_on_the_disk_before_the_rename_and_the_rename_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of what the kernel is asked for; that a disk does as it is told is not tried."""
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
    assert asked == [
        "sync model.tmp/more/weights",
        "sync model.tmp/weights",
        f"sync model.tmp/{MANIFEST}.{os.getpid()}.tmp",
        "sync model.tmp",
        "sync model.tmp/more",
        "rename model.tmp",
        "sync .",
    ]
    assert open_artifact(tmp_path / "model", "train").files.keys() == {"weights", "more/weights"}
