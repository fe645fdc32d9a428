"""Write and read the encoded corpus: the token ids of each split in one Arrow file, memory-mapped when read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .facts import EncodedSplitFacts
from .splits import read_split
from .tokenizer import Tokenizer

Ids = NDArray[np.int32]


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

    Return the numbers of pairs written, of pairs left out, and of ids on each side.
    """
    texts = read_split(parquet)
    pairs = zip(tokenizer.encode_source(texts[0]), tokenizer.encode_target(texts[1]), strict=True)
    kept = [(source, target) for source, target in pairs if max(len(source), len(target)) <= max_tokens]
    sources, targets = [source for source, _ in kept], [target for _, target in kept]
    type_ = pa.large_list(pa.int32())
    table = pa.table({"source": pa.array(sources, type_), "target": pa.array(targets, type_)})
    with pa.OSFile(str(output), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)  # one record batch, which can be read without copying
    return EncodedSplitFacts(
        pairs=len(kept),
        too_long=len(texts[0]) - len(kept),
        source_tokens=sum(map(len, sources)),
        target_tokens=sum(map(len, targets)),
    )


def open_split(path: Path) -> EncodedSplit:
    """Open a split that `encode_split` wrote."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        table = reader.read_all()  # without copying; the arrays keep the file mapped
    return EncodedSplit(_side(table.column("source")), _side(table.column("target")))


def _side(column: Any) -> EncodedSide:
    lists = column.chunk(0)
    return EncodedSide(lists.values.to_numpy(zero_copy_only=True), lists.offsets.to_numpy(zero_copy_only=True))
