"""Owns which sentences are read together, and when: one plan an epoch, the same in every process.

The plan depends on the lengths, the settings, the seed and the epoch alone. Steps are made of a fixed number of
micro-batches, which processes share out among them: rank r of W takes every W-th one, beginning with r. So neither
the number of processes nor that of accumulation steps changes what an update learns from.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.encoding import EncodedSide, EncodedSplit
from ..data.tokenizer import PAD
from ..plumbing.errors import UserError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """What one update learns from."""

    micro_batches: list[Rows]
    target_tokens: int  # of all micro-batches: the loss is divided by it

    def share(self, rank: int, processes: int) -> list[tuple[int, Rows]]:
        """The micro-batches of one process, each with its place in the step."""
        return list(enumerate(self.micro_batches))[rank::processes]


@dataclass(frozen=True)
class Batch:
    """Padded ids of some pairs."""

    source: Tensor  # (B, S)
    lengths: Tensor  # (B,) of the source
    target: Tensor  # (B, T)

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(t.to(device, non_blocking=True) for t in (self.source, self.lengths, self.target)))


def micro_batches_per_step(batch_tokens: int, micro_batch_tokens: int, processes: int) -> int:
    """How many micro-batches a step has; UserError if that leaves a process without any."""
    count = max(1, batch_tokens // micro_batch_tokens)
    if processes > count:
        raise UserError(
            f"{processes} processes cannot share the {count} micro-batches of a step; "
            f"set train.micro_batch_tokens to at most {batch_tokens // processes} (train.batch_tokens / NPROC)"
        )
    return count


def plan_epoch(data: EncodedSplit, per_step: int, micro_batch_tokens: int, seed: int, epoch: int) -> list[Step]:
    """Cut an epoch's shuffled, length-sorted pairs into steps; every pair occurs exactly once.

    A micro-batch has at most `micro_batch_tokens` target tokens with its padding (or one pair that is longer), a step
    `per_step` micro-batches.
    """
    if len(data) < per_step:
        raise UserError(
            f"the training split has {len(data)} pairs, too few for the {per_step} micro-batches of one step; "
            "raise train.micro_batch_tokens or bring more data"
        )
    random = np.random.default_rng([seed, epoch])
    micro_batches = _cut(_sorted_rows(data, random), data.target.lengths, micro_batch_tokens)
    _split_largest(micro_batches, -len(micro_batches) % per_step)
    random.shuffle(micro_batches)
    groups = [micro_batches[i : i + per_step] for i in range(0, len(micro_batches), per_step)]
    lengths = data.target.lengths
    return [Step(group, int(sum(lengths[rows].sum() for rows in group))) for group in groups]


def plan_in_order(data: EncodedSplit, tokens: int) -> list[Rows]:
    """Micro-batches for validation: sorted by length, always the same."""
    rows = np.lexsort((data.target.lengths, data.source.lengths))
    return _cut(rows, data.target.lengths, tokens)


def padding_share(data: EncodedSplit, steps: list[Step]) -> float:
    """Share of target cells that hold padding instead of a token."""
    lengths = data.target.lengths
    cells = sum(len(rows) * int(lengths[rows].max()) for step in steps for rows in step.micro_batches)
    return 1 - int(lengths.sum()) / cells


def imbalance(data: EncodedSplit, steps: list[Step], processes: int) -> float:
    """By how much the slowest process of a step has more target tokens than their mean; the mean over the steps."""
    lengths = data.target.lengths
    excess = []
    for step in steps:
        loads = [sum(int(lengths[rows].sum()) for _, rows in step.share(rank, processes)) for rank in range(processes)]
        excess.append(max(loads) * processes / sum(loads) - 1)
    return float(np.mean(excess))


def collate(data: EncodedSplit, rows: Rows) -> Batch:
    """Pad some pairs to one batch."""
    lengths = torch.from_numpy(data.source.lengths[rows])
    return Batch(_pad(data.source, rows), lengths, _pad(data.target, rows))


def _pad(side: EncodedSide, rows: Rows) -> Tensor:
    sentences = [side.sentence(row) for row in rows]
    padded = np.full((len(rows), max(map(len, sentences))), PAD, dtype=np.int64)
    for i, sentence in enumerate(sentences):
        padded[i, : len(sentence)] = sentence
    return torch.from_numpy(padded)


def _sorted_rows(data: EncodedSplit, random: np.random.Generator) -> Rows:
    """Rows sorted by source, then target length: batches with little padding on both sides; ties in random order.

    Target lengths rise and fall in turn from one source length to the next, so that neighbours stay alike.
    """
    source, target = data.source.lengths, data.target.lengths
    return np.lexsort((random.random(len(data)), np.where(source % 2, target, -target), source))


def _cut(rows: Rows, lengths: NDArray[np.int64], tokens: int) -> list[Rows]:
    """Cut rows, in order, into groups of at most `tokens` cells: rows x longest target."""
    groups, begin, longest = [], 0, 0
    for end, length in enumerate(lengths[rows]):
        longest = max(longest, int(length))
        if end > begin and (end + 1 - begin) * longest > tokens:
            groups.append(rows[begin:end])
            begin, longest = end, int(length)
    groups.append(rows[begin:])
    return groups


def _split_largest(groups: list[Rows], times: int) -> None:
    """Halve the group with most rows, `times` times, to round the number of groups up without losing a row."""
    for _ in range(times):
        largest = max(range(len(groups)), key=lambda i: len(groups[i]))
        rows = groups[largest]
        groups[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
