"""Write and read encoded text: token ids in Arrow files, which are mapped into memory when read.

The validation split is one file. The training split is cut into shards, so that a training needs only a part of it at a
time; encoded_shards.py keeps them.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, compress, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .engine import Engine
from .facts import EncodedSplitFacts
from .tokenizer import Tokenizer

Ids = NDArray[np.int32]
Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class EncodedSide:
    """One language of a split of N pairs: all ids in one array, and N + 1 offsets at which the sentences begin."""

    ids: Ids
    offsets: NDArray[np.int64]

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """The number of ids of each sentence, EOS included."""
        return np.diff(self.offsets).astype(np.int32)

    def sentence(self, row: int) -> Ids:
        """Return the ids of one sentence, with EOS at the end. They are a view into the memory-mapped file."""
        return self.ids[self.offsets[row] : self.offsets[row + 1]]


@dataclass(frozen=True)
class EncodedSplit:
    """The token ids of a split."""

    source: EncodedSide
    target: EncodedSide

    def __len__(self) -> int:
        return len(self.source.offsets) - 1


@dataclass(frozen=True)
class LengthCounts:
    """How many pairs of a split have each combination of lengths, in increasing order of source and target."""

    source: NDArray[np.int32]  # ids of the source, EOS included
    target: NDArray[np.int32]  # ids of the target, EOS included
    pairs: NDArray[np.int64]

    @classmethod
    def of(cls, split: EncodedSplit) -> Self:
        base = int(split.target.lengths.max()) + 1
        keys, pairs = np.unique(split.source.lengths.astype(np.int64) * base + split.target.lengths, return_counts=True)
        return cls((keys // base).astype(np.int32), (keys % base).astype(np.int32), pairs)


@dataclass(frozen=True)
class Piece:
    """Rows of one row group of a Parquet file."""

    group: int
    begin: int
    end: int


@dataclass(frozen=True)
class EncodedRows:
    """The token ids of some rows of a split."""

    source: tuple[Ids, Lengths]  # the ids of all sentences in one array, and how many each sentence has
    target: tuple[Ids, Lengths]
    too_long: int  # rows left out


def encode_rows(parquet: Path, tokenizer: Tokenizer, max_tokens: int, piece: Piece) -> EncodedRows:
    """Encode some rows of a split, without the pairs that have more than `max_tokens` ids on a side."""
    group = pq.ParquetFile(parquet).read_row_group(piece.group, columns=["source", "target"])
    texts = group.slice(piece.begin, piece.end - piece.begin)
    sources = tokenizer.encode_source(texts["source"].to_pylist())
    targets = tokenizer.encode_target(texts["target"].to_pylist())
    kept = [max(map(len, pair)) <= max_tokens for pair in zip(sources, targets, strict=True)]
    source, target = (_joined(list(compress(side, kept))) for side in (sources, targets))
    return EncodedRows(source, target, too_long=len(kept) - sum(kept))


def _joined(sentences: list[list[int]]) -> tuple[Ids, Lengths]:
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    return np.fromiter(chain.from_iterable(sentences), np.int32, int(lengths.sum())), lengths


def encode_split(
    parquet: Path, tokenizer: Tokenizer, max_tokens: int, shard_pairs: int | None, output: Path, engine: Engine
) -> Iterator[EncodedSplitFacts]:
    """Encode a split in shards of about equal size, up to `shard_pairs`, or in a single one if it is None.

    Write each shard to `output` and yield its numbers of pairs written, of pairs left out because they have more than
    `max_tokens` ids on a side, and of ids. The next shard replaces the file. The memory does not grow with the split:
    the ids are first written beside `output`.
    """
    shards = _shards(parquet, shard_pairs)
    encoded = engine(partial(encode_rows, parquet, tokenizer, max_tokens), chain.from_iterable(shards))
    for pieces in shards:
        too_long = 0
        with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
            source, target = (_Written(Path(scratch) / side) for side in ("source", "target"))
            for rows in islice(encoded, len(pieces)):
                source.add(*rows.source)
                target.add(*rows.target)
                too_long += rows.too_long
            table = pa.table({"source": source.lists(), "target": target.lists()})
            with pa.OSFile(str(output), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)  # one record batch, which can be read without copying
            del table  # so that nothing holds the files that it maps
        yield EncodedSplitFacts(
            pairs=source.sentences, too_long=too_long, source_tokens=source.tokens, target_tokens=target.tokens
        )


def _shards(parquet: Path, most: int | None) -> list[list[Piece]]:
    """Return which rows make up each shard."""
    metadata = pq.read_metadata(parquet)
    ends = np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]).tolist()
    count = 1 if most is None else max(1, -(-metadata.num_rows // most))
    shards: list[list[Piece]] = [[] for _ in range(count)]
    for group, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        for shard, pieces in enumerate(shards):
            first, last = (metadata.num_rows * n // count for n in (shard, shard + 1))
            if max(begin, first) < min(end, last):
                pieces.append(Piece(group, max(begin, first) - begin, min(end, last) - begin))
    return shards


class _Written:
    """The ids of one side and the offsets at which its sentences begin, in two files."""

    def __init__(self, path: Path) -> None:
        self._ids, self._offsets = path.with_suffix(".ids"), path.with_suffix(".offsets")
        self.sentences, self.tokens = 0, 0
        self._ids.touch()
        np.zeros(1, dtype=np.int64).tofile(self._offsets)

    def add(self, ids: Ids, lengths: Lengths) -> None:
        with open(self._ids, "ab") as file:
            ids.tofile(file)
        with open(self._offsets, "ab") as file:
            (self.tokens + np.cumsum(lengths)).tofile(file)
        self.sentences += len(lengths)
        self.tokens += len(ids)

    def lists(self) -> pa.LargeListArray:
        """Return the ids of all sentences. They stay in the files, which are mapped into memory."""
        return pa.LargeListArray.from_arrays(
            _mapped(self._offsets, pa.int64(), self.sentences + 1), _mapped(self._ids, pa.int32(), self.tokens)
        )


def _mapped(path: Path, type_: pa.DataType, length: int) -> pa.Array:
    with pa.memory_map(str(path)) as file:
        return pa.Array.from_buffers(type_, length, [None, file.read_buffer()])


def open_split(path: Path) -> EncodedSplit:
    """Open a split, or a shard, that `encode_split` wrote."""
    with pa.memory_map(str(path)) as file:
        return read_split_from(file.read_buffer())


def read_split_from(content: pa.Buffer) -> EncodedSplit:
    """Return the split in a mapped file. Nothing is copied; the arrays keep the file mapped."""
    with pa.ipc.open_stream(content) as reader:
        table = reader.read_all()
    return EncodedSplit(_side(table.column("source")), _side(table.column("target")))


def _side(column: Any) -> EncodedSide:
    lists = column.chunk(0)
    return EncodedSide(lists.values.to_numpy(zero_copy_only=True), lists.offsets.to_numpy(zero_copy_only=True))
