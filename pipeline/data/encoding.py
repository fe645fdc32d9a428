"""Write and read the encoded corpus: the token ids of each split in one Arrow file, memory-mapped when read."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .facts import EncodedSplitFacts
from .tokenizer import Tokenizer

Ids = NDArray[np.int32]
BATCH = 20_000  # pairs whose ids are in memory as lists


@dataclass(frozen=True)
class EncodedSide:
    """One language of a split of N pairs: all ids in one array, and N + 1 offsets at which the sentences begin."""

    ids: Ids
    offsets: NDArray[np.int64]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of ids of each sentence, EOS included."""
        return np.diff(self.offsets)

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


def encode_split(parquet: Path, tokenizer: Tokenizer, max_tokens: int, output: Path) -> EncodedSplitFacts:
    """Encode a split and write it to `output`, without the pairs that have more than `max_tokens` ids on a side.

    Return the numbers of pairs written, of pairs left out, and of ids on each side. The memory does not grow with the
    split, but for 8 bytes for each sentence: the ids are first written beside `output`.
    """
    file = pq.ParquetFile(parquet)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        source, target = (_Written(Path(scratch) / side) for side in ("source", "target"))
        for batch in file.iter_batches(BATCH, columns=["source", "target"]):
            texts = [batch.column(side).to_pylist() for side in ("source", "target")]
            pairs = zip(tokenizer.encode_source(texts[0]), tokenizer.encode_target(texts[1]), strict=True)
            kept = [pair for pair in pairs if max(map(len, pair)) <= max_tokens]
            source.add([ids for ids, _ in kept])
            target.add([ids for _, ids in kept])
        table = pa.table({"source": source.lists(), "target": target.lists()})
        with pa.OSFile(str(output), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)  # one record batch, which can be read without copying
        return EncodedSplitFacts(
            pairs=len(table),
            too_long=file.metadata.num_rows - len(table),
            source_tokens=source.tokens,
            target_tokens=target.tokens,
        )


class _Written:
    """The ids of one side, in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.tokens = path, 0
        self._lengths: list[NDArray[np.int64]] = []
        path.touch()

    def add(self, sentences: list[list[int]]) -> None:
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        ids = np.fromiter(chain.from_iterable(sentences), np.int32, int(lengths.sum()))
        with open(self.path, "ab") as file:
            ids.tofile(file)
        self._lengths.append(lengths)
        self.tokens += len(ids)

    def lists(self) -> pa.LargeListArray:
        """Return the ids of all sentences. They stay in the file, which is mapped into memory."""
        offsets = np.concatenate([[0], *self._lengths]).cumsum()
        with pa.memory_map(str(self.path)) as file:
            values = pa.Array.from_buffers(pa.int32(), self.tokens, [None, file.read_buffer()])
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def open_split(path: Path) -> EncodedSplit:
    """Open a split that `encode_split` wrote."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        table = reader.read_all()  # without copying; the arrays keep the file mapped
    return EncodedSplit(_side(table.column("source")), _side(table.column("target")))


def _side(column: Any) -> EncodedSide:
    lists = column.chunk(0)
    return EncodedSide(lists.values.to_numpy(zero_copy_only=True), lists.offsets.to_numpy(zero_copy_only=True))
