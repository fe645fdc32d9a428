"""Shards of the training split: in the artifact or in a store, compared with their sha256, and fetched when needed."""

import os
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
