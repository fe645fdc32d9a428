"""Shards of the training split: in the artifact or in a store, compared with their sha256, and fetched when needed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from pipeline.data import encoded_shards
from pipeline.data.encoded_shards import EncodedShards
from pipeline.data.encoding import LengthCounts
from pipeline.data.facts import EncodedFacts
from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import StageCall
from pipeline.plumbing.errors import UserError
from stages.encode import encode
from tests.downloading import ROOT
from tests.test_encoding import publish_inputs
from tests.toy_corpus import sentence_pairs

PAIRS = sentence_pairs(100)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_shards, "PAUSES", (0.0, 0.0, 0.0))


def encoded(home: Path, pairs: int = 30, store: str | None = None, max_tokens: int = 100) -> EncodedShards:
    """Run the stage, and open what it made."""
    inputs = publish_inputs(home, {"train": PAIRS, "validation": PAIRS[:5]}, group=7)
    settings = {"max_tokens": max_tokens, "shard_pairs": pairs, "store": store}
    encode(StageCall({"params": {"encode": settings}}, inputs, home / "encoded", "default"))
    return EncodedShards(open_artifact(home / "encoded", "encode"))


def sentences(shards: EncodedShards) -> list[tuple[list[int], list[int]]]:
    splits = [shards.open(number) for number in range(len(shards.counts))]
    return [(s.source.sentence(i).tolist(), s.target.sentence(i).tolist()) for s in splits for i in range(len(s))]


@pytest.mark.parametrize(("pairs", "sizes"), [(1000, [100]), (100, [100]), (50, [50, 50]), (30, [25] * 4)])
@pytest.mark.parametrize("stored", [False, True])
def test_shards_have_all_pairs_in_order(tmp_path: Path, pairs: int, sizes: list[int], stored: bool) -> None:
    expected = sentences(encoded(tmp_path / "whole", 1000))
    shards = encoded(tmp_path / "shards", pairs, f"{tmp_path}/store" if stored else None)
    assert sentences(shards) == expected
    assert [len(shards.open(number)) for number in range(len(sizes))] == sizes
    facts = EncodedFacts.of(open_artifact(tmp_path / "shards/encoded", "encode"))
    assert facts.train.pairs == 100
    assert [shard.pairs for shard in facts.shards] == sizes
    assert len(list((tmp_path / "shards/encoded").glob("train-*"))) == (0 if stored else len(sizes))
    assert not list((tmp_path / "shards/encoded").glob("shard.*"))


def test_lengths_are_counted_for_each_shard(tmp_path: Path) -> None:
    shards = encoded(tmp_path)
    for number, counts in enumerate(shards.counts):
        split = shards.open(number)
        expected = LengthCounts.of(split)
        lengths = list(zip(split.source.lengths.tolist(), split.target.lengths.tolist(), strict=True))
        for name in ("source", "target", "pairs"):
            assert getattr(counts, name).tolist() == getattr(expected, name).tolist()
        kinds = zip(counts.source.tolist(), counts.target.tolist(), counts.pairs.tolist(), strict=True)
        assert {(source, target): pairs for source, target, pairs in kinds} == {
            kind: lengths.count(kind) for kind in lengths
        }


def test_a_shard_with_only_too_long_pairs_is_left_out(tmp_path: Path) -> None:
    lengths = sorted(max(map(len, pair)) for pair in sentences(encoded(tmp_path / "all", 1)))
    shards = encoded(tmp_path / "some", 1, max_tokens=lengths[70])
    assert 0 < len(shards.counts) < 100
    assert all(len(shards.open(number)) == 1 for number in range(len(shards.counts)))


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "replace"])
@pytest.mark.parametrize("stored", [False, True])
def test_a_damaged_shard_is_refused(tmp_path: Path, stored: bool, harm: str) -> None:
    shards = encoded(tmp_path, store=f"{tmp_path}/store" if stored else None)
    directory = tmp_path / ("store" if stored else "encoded")
    path, other = (directory / shards.name(number) for number in (2, 3))
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 1
    path.unlink()
    if harm == "cut":
        content = content[:-9]
    if harm != "remove":
        path.write_bytes(other.read_bytes() if harm == "replace" else content)
    assert len(shards.open(1)) == 25
    with pytest.raises(UserError) as refusal:
        shards.open(2)
    told = str(refusal.value)
    assert str(path) in told
    assert f"remove {tmp_path}/encoded and run: make encode" in told
    assert "\n" not in told


def test_a_failed_request_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = encoded(tmp_path, store=f"file://{tmp_path}/store")
    local, tries = fsspec.filesystem("file"), []
    usual = type(local).open

    def fails_at_first(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        tries.append(path)
        if len(tries) < 3:
            raise ConnectionResetError("connection reset")
        return usual(self, path, *args, **kwargs)

    monkeypatch.setattr(type(local), "open", fails_at_first)
    assert len(shards.open(0)) == 25
    assert len(tries) == 3
    monkeypatch.setattr(type(local), "open", lambda *args, **kwargs: (_ for _ in ()).throw(TimeoutError("no answer")))
    with pytest.raises(
        UserError, match="cannot be read: TimeoutError: no answer; check the network, then run the same"
    ):
        shards.open(1)


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("nowhere://bucket/path", "encode.store: got nowhere://bucket/path: Protocol not known: nowhere"),
        ("s3://bucket/path", "encode.store: got s3://bucket/path: Install s3fs to access S3"),
        ("{file}/store", "cannot be written: .*; check the address and the access to it"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_and_nothing_is_published(tmp_path: Path, store: str, told: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=told):
        encoded(tmp_path / "home", store=store.format(file=tmp_path / "file"))
    assert not list((tmp_path / "home").glob("encoded*"))


def test_a_shard_that_could_not_be_fetched_ahead_is_fetched_when_it_is_needed(tmp_path: Path) -> None:
    shards = encoded(tmp_path, store=f"{tmp_path}/store")
    (tmp_path / "store").rename(tmp_path / "away")
    shards.keep([1])
    with pytest.raises(UserError, match="FileNotFoundError"):
        shards._fetched[1].result()
    (tmp_path / "away").rename(tmp_path / "store")
    assert len(shards.open(1)) == 25


def test_a_process_that_ends_does_not_wait_for_shards(tmp_path: Path) -> None:
    encoded(tmp_path, store=f"{tmp_path}/store")
    code = """
import sys, time
from pathlib import Path
from pipeline.data import encoded_shards
from pipeline.plumbing.artifacts import open_artifact
encoded_shards._download = lambda *_: time.sleep(100)
encoded_shards.EncodedShards(open_artifact(Path(sys.argv[1]), "encode")).keep([0, 1, 2])
sys.exit(3)
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "encoded")], cwd=ROOT, timeout=60, check=False)
    assert run.returncode == 3


def test_the_error_names_all_artifacts_that_are_equal(tmp_path: Path) -> None:
    """If one was left, the stage would take it, and write no shard."""
    shards = encoded(tmp_path / "mine", store=f"{tmp_path}/store")
    shutil.copytree(tmp_path / "mine/encoded", tmp_path / "other/encoded")
    encoded(tmp_path / "unlike", 50, store=f"{tmp_path}/store")
    (tmp_path / "store" / shards.name(0)).unlink()
    with pytest.raises(UserError) as refusal:
        shards.open(0)
    again = f"remove {tmp_path}/other/encoded, remove {tmp_path}/mine/encoded and run: make encode EXP=mine"
    assert str(refusal.value).endswith(f"remove {tmp_path}/store/{shards.name(0)}, {again}")


def test_a_shard_that_is_in_the_store_is_not_written_again(tmp_path: Path) -> None:
    encoded(tmp_path / "one", store=f"{tmp_path}/store")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    (changed, *_) = (tmp_path / "store").iterdir()
    changed.write_bytes(b"cut off")
    shards = encoded(tmp_path / "other", store=f"{tmp_path}/store")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    assert [name for name in before if after[name] != before[name]] == [changed.name]
    assert after.keys() == before.keys()
    assert len(sentences(shards)) == 100


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = encoded(tmp_path, store=f"{tmp_path}/store")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match="No space left on device"):
        shards.open(0)


def test_only_the_shards_that_are_needed_are_kept(tmp_path: Path) -> None:
    shards = encoded(tmp_path, store=f"{tmp_path}/store")
    shards.keep([2, 0])
    kept = shards.open(2)
    shards.keep([2, 1])
    assert shards.open(2) is kept
    assert len(shards.open(1)) == 25
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    assert len(shards.open(1)) == 25
    with pytest.raises(UserError, match="FileNotFoundError"):
        shards.open(0)


def test_a_fetched_shard_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = encoded(tmp_path, store=f"{tmp_path}/store")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    split = shards.open(0)
    assert os.listdir(tmp_path / "scratch") == []
    assert not split.source.ids.flags.owndata
    assert np.asarray(split.source.ids).sum() > 0
