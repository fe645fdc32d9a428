"""The encoded corpus: the ids of the tokenizer, read from a memory-mapped file without copying."""

from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.encoding import encode_split, open_split
from pipeline.data.engine import open_engine
from pipeline.data.facts import EncodedSplitFacts
from pipeline.data.tokenizer import JOINT, Tokenizer, train_model
from pipeline.plumbing.artifacts import Artifact, open_artifact, publish
from pipeline.plumbing.command import StageCall
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import TokenizerSettings
from stages.encode import encode
from tests.toy_corpus import sentence_pairs

PAIRS = [(f"one two {'three ' * n}", f"eins zwei {'drei ' * (n + 1)}") for n in range(8)]


@cache
def toy_model() -> bytes:
    return train_model([side for pair in sentence_pairs(300) for side in pair], TokenizerSettings(vocabulary_size=400))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    (tmp_path / JOINT).write_bytes(toy_model())
    return Tokenizer.load(tmp_path)


def publish_inputs(home: Path, splits: dict[str, list[tuple[str, str]]], group: int = 3) -> dict[str, Artifact]:
    """Publish the artifacts that the stage reads."""
    with publish(home / "corpus", {}, {"params": {}}) as draft:
        for name, pairs in splits.items():
            _write(draft.directory / f"{name}.parquet", pairs, group)
    with publish(home / "tokenizer", {}, {"params": {}}) as draft:
        (draft.directory / JOINT).write_bytes(toy_model())
    return {name: open_artifact(home / name, "") for name in ("corpus", "tokenizer")}


def _write(path: Path, pairs: list[tuple[str, str]], group: int = 3) -> Path:
    """Write a split whose row groups have so many pairs."""
    pq.write_table(pa.table({"source": [s for s, _ in pairs], "target": [t for _, t in pairs]}), path, group)
    return path


@pytest.mark.parametrize("group", [1, 3, 100])
def test_the_ids_are_those_of_the_tokenizer_in_order(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setenv("NUM_PROC", "2")
    parquet = _write(tmp_path / "train.parquet", PAIRS, group)
    with open_engine() as engine:
        (counts,) = encode_split(parquet, tokenizer, 100, None, tmp_path / "train.arrow", engine)
    split = open_split(tmp_path / "train.arrow")
    sources = tokenizer.encode_source([s for s, _ in PAIRS])
    targets = tokenizer.encode_target([t for _, t in PAIRS])
    assert [split.source.sentence(i).tolist() for i in range(len(split))] == sources
    assert [split.target.sentence(i).tolist() for i in range(len(split))] == targets
    assert split.target.lengths.tolist() == [len(t) for t in targets]
    assert counts == EncodedSplitFacts(
        pairs=8,
        too_long=0,
        source_tokens=sum(map(len, sources)),
        target_tokens=sum(map(len, targets)),
    )


def test_pairs_that_are_too_long_are_left_out_and_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    longest = max(len(t) for t in tokenizer.encode_target([t for _, t in PAIRS]))
    parquet = _write(tmp_path / "a.parquet", PAIRS)
    (counts,) = encode_split(parquet, tokenizer, longest - 1, None, tmp_path / "a.arrow", map)
    assert (counts.pairs, counts.too_long) == (7, 1)
    assert len(open_split(tmp_path / "a.arrow")) == 7


def test_reading_does_not_copy_the_file(tmp_path: Path, tokenizer: Tokenizer) -> None:
    list(encode_split(_write(tmp_path / "a.parquet", PAIRS), tokenizer, 100, None, tmp_path / "a.arrow", map))
    split = open_split(tmp_path / "a.arrow")
    assert not split.source.ids.flags.owndata
    assert not split.source.ids.flags.writeable
    assert not split.source.sentence(2).flags.owndata


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_with_only_too_long_pairs_is_an_error_and_nothing_is_published(
    tmp_path: Path, tokenizer: Tokenizer, split: str
) -> None:
    long, short = [("one two three four", "eins zwei drei vier")], [("one", "eins")]
    pairs = {name: long if name == split else short for name in ("train", "validation")}
    inputs = publish_inputs(tmp_path, pairs)
    most = len(tokenizer.encode_target(["eins"])[0])
    call = StageCall({"params": {"encode": {"max_tokens": most}}}, inputs, tmp_path / "encoded", "default")
    message = rf"encode\.max_tokens: got {most}, which leaves no pair of {split}: in all 1 pairs, one side is longer"
    with pytest.raises(UserError, match=message):
        encode(call)
    assert not list(tmp_path.glob("encoded*"))
