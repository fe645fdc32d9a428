"""Read the pairs of micro-batches, and pad them to tensors.

Shapes: B pairs in a batch, S longest source, T longest target.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.encoding import EncodedSide, EncodedSplit, LengthCounts
from ..data.tokenizer import PAD
from ..plumbing.params import TrainSettings
from .plan import MicroBatch, Plan, Rows, Step, micro_batches_per_step


@dataclass(frozen=True)
class Batch:
    """The padded ids of some pairs."""

    source: Tensor  # (B, S)
    lengths: Tensor  # (B,) number of real tokens in each source
    target: Tensor  # (B, T)
    real: Tensor  # (N,) places of the N real tokens in the flattened target

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device. A GPU copies it from pinned memory while it computes something else."""
        tensors = [self.source, self.lengths, self.target, self.real]
        if device.type == "cuda":
            tensors = [tensor.pin_memory() for tensor in tensors]
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


class Shards(Protocol):
    """The shards of a training split; see pipeline.data.encoded_shards.EncodedShards."""

    counts: Sequence[LengthCounts]

    def name(self, number: int) -> str: ...
    def keep(self, numbers: Iterable[int]) -> None: ...
    def open(self, number: int) -> EncodedSplit: ...


class TrainingData:
    """The steps of a training, and the micro-batches that one of its processes computes."""

    def __init__(self, shards: Shards, settings: TrainSettings, rank: int = 0, processes: int = 1) -> None:
        per_step = micro_batches_per_step(settings.batch_tokens, settings.micro_batch_tokens, processes)
        self.plan = Plan(shards.counts, per_step, settings.micro_batch_tokens, settings.seed)
        self._shards, self._rank, self._processes = shards, rank, processes
        self._rows: dict[tuple[int, int], Rows] = {}  # epoch and shard -> its rows in the plan's order

    def steps(self, epoch: int, first: int) -> Iterator[Step]:
        """Yield the steps of an epoch from number `first` on. The shards that come next are fetched meanwhile."""
        windows = [*self.plan.windows(epoch), self.plan.windows(epoch + 1)[0]]
        for window, following in pairwise(windows):
            length = self.plan.length(window)
            if first < length:
                self._shards.keep([*self._needed(window), *self._needed(following)])
                self._rows.clear()
                yield from self.plan.steps(epoch, window)[first:]
            first = max(0, first - length)

    def batch(self, micro_batch: MicroBatch) -> Batch:
        """Return the padded pairs of a micro-batch."""
        return collate(self._shards.open(micro_batch.shard), self.rows(micro_batch))

    def rows(self, micro_batch: MicroBatch) -> Rows:
        """Return the rows of its shard that make up a micro-batch."""
        key = micro_batch.epoch, micro_batch.shard
        if key not in self._rows:
            self._rows[key] = self.plan.rows(self._shards.open(micro_batch.shard), *key)
        return self._rows[key][micro_batch.begin : micro_batch.end]

    def describe(self, micro_batches: Iterable[MicroBatch]) -> str:
        """Return the shards and rows of the pairs: `train-00000-5ee0b21cd8f1a903.arrow (rows 2, 7)`.

        Rows of shards that this process has not read are left out, because fetching them takes long.
        """
        found: dict[str, list[int]] = {}
        for each in micro_batches:
            is_read = (each.epoch, each.shard) in self._rows
            found.setdefault(self._shards.name(each.shard), []).extend(self.rows(each).tolist() if is_read else [])
        return ", ".join(
            f"{name} (rows {', '.join(map(str, sorted(rows)))})" if rows else name for name, rows in found.items()
        )

    def _needed(self, window: list[int]) -> list[int]:
        """Return those shards of a window that this process reads."""
        return window[self._rank :: self._processes] if len(window) > 1 else window


def collate(data: EncodedSplit, rows: Rows) -> Batch:
    """Return the pairs in `rows` as one padded batch."""
    source, target, lengths = (
        _pad(data.source, rows),
        _pad(data.target, rows),
        data.source.lengths[rows].astype(np.int64),
    )
    return Batch(*map(torch.from_numpy, (source, lengths, target, np.flatnonzero(target != PAD))))


def _pad(side: EncodedSide, rows: Rows) -> Rows:
    sentences = [side.sentence(row) for row in rows]
    padded = np.full((len(rows), max(map(len, sentences))), PAD, dtype=np.int64)
    for i, sentence in enumerate(sentences):
        padded[i, : len(sentence)] = sentence
    return padded
