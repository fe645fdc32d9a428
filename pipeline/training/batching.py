"""Plan the batches of an epoch, and pad sentences to tensors. The plan is the same in every process.

The plan depends only on the sentence lengths, the settings, the seed and the epoch. Every step has the same number of
micro-batches. Process r of W computes micro-batches r, r + W, r + 2W and so on. So each update learns from the same
sentences, for any number of processes.

Shapes: B pairs in a batch, S longest source, T longest target.
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
    """The pairs of one optimiser step, cut into micro-batches."""

    micro_batches: list[Rows]
    target_tokens: int  # in all micro-batches; the loss is divided by it

    def share(self, rank: int, processes: int) -> list[tuple[int, Rows]]:
        """Return the micro-batches of one process, each with its place in the step."""
        return list(enumerate(self.micro_batches))[rank::processes]


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


def micro_batches_per_step(batch_tokens: int, micro_batch_tokens: int, processes: int) -> int:
    """Return the number of micro-batches in a step. Raise UserError if there are fewer micro-batches than processes."""
    count = max(1, batch_tokens // micro_batch_tokens)
    if processes > count:
        raise UserError(
            f"{processes} processes cannot share the {count} micro-batches of a step; "
            f"lower train.micro_batch_tokens to {batch_tokens // processes} or less (train.batch_tokens / NPROC)"
        )
    return count


def plan_epoch(data: EncodedSplit, per_step: int, micro_batch_tokens: int, seed: int, epoch: int) -> list[Step]:
    """Return the steps of an epoch, in random order. Every pair occurs exactly once.

    The pairs of a micro-batch have similar lengths. A micro-batch has up to `micro_batch_tokens` target tokens, padding
    included, or a single pair if that alone is longer. A step has `per_step` micro-batches.
    """
    if len(data) < per_step:
        raise UserError(
            f"the training split has {len(data)} pairs, too few for the {per_step} micro-batches of one step; "
            "raise train.micro_batch_tokens, lower train.batch_tokens, or use a larger corpus"
        )
    random = np.random.default_rng([seed, epoch])
    micro_batches = _cut(_sorted_rows(data, random), data.target.lengths, micro_batch_tokens)
    _split_largest(micro_batches, -len(micro_batches) % per_step)
    random.shuffle(micro_batches)
    groups = [micro_batches[i : i + per_step] for i in range(0, len(micro_batches), per_step)]
    lengths = data.target.lengths[np.concatenate(micro_batches)]
    begins = np.cumsum([0, *(sum(map(len, group)) for group in groups[:-1])])
    tokens = np.add.reduceat(lengths, begins, dtype=np.int64).tolist()
    return [Step(group, count) for group, count in zip(groups, tokens, strict=True)]


def plan_in_order(data: EncodedSplit, tokens: int) -> list[Rows]:
    """Return the micro-batches for validation, sorted by length. They are always the same."""
    rows = np.lexsort((data.target.lengths, data.source.lengths))
    return _cut(rows, data.target.lengths, tokens)


def padding_share(data: EncodedSplit, steps: list[Step]) -> float:
    """Return the share of padding in the target tensors, 0 to 1."""
    batches = [rows for step in steps for rows in step.micro_batches]
    sizes = np.array(list(map(len, batches)))
    longest = np.maximum.reduceat(data.target.lengths[np.concatenate(batches)], np.cumsum(sizes) - sizes)
    return 1 - int(data.target.lengths.sum()) / int(sizes @ longest)


def imbalance(data: EncodedSplit, steps: list[Step], processes: int) -> float:
    """Return how many more target tokens the busiest process of a step has than the average process.

    The number is a share of the average, such as 0.1 for 10 % more. It is a mean over the steps.
    """
    if processes == 1:
        return 0.0
    lengths = data.target.lengths
    excess = []
    for step in steps:
        loads = [sum(int(lengths[rows].sum()) for _, rows in step.share(rank, processes)) for rank in range(processes)]
        excess.append(max(loads) * processes / sum(loads) - 1)
    return float(np.mean(excess))


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


def _sorted_rows(data: EncodedSplit, random: np.random.Generator) -> Rows:
    """Return the rows sorted by source length, then by target length, so that batches need little padding.

    Target lengths increase for odd source lengths and decrease for even ones. So neighbours are similar even where the
    source length changes. Pairs with the same two lengths are in random order.
    """
    source, target = data.source.lengths, data.target.lengths
    most = int(target.max())
    keys = np.multiply(source, most + 1, dtype=np.int64)
    keys += np.where(source % 2, target, most - target)
    # One number for each pair, of its kind, a random number and its row, is sorted ten times as fast as three columns.
    row_bits = len(data).bit_length()
    bits = min(53, 63 - int(keys.max()).bit_length() - row_bits)
    chances = random.random(len(data))
    chances *= 2.0**bits
    keys <<= bits
    keys += chances.astype(np.int64)
    keys <<= row_bits
    keys += np.arange(len(data))
    keys.sort()
    return keys & ((1 << row_bits) - 1)


def _cut(rows: Rows, lengths: NDArray[np.int32], tokens: int) -> list[Rows]:
    """Cut rows, in order, into groups of up to `tokens` target tokens with padding: rows times the longest target."""
    ordered = lengths[rows]
    ends = [*(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(rows)]  # of runs of rows with the same length
    groups, begin, longest, first = [], 0, 0, 0
    for end in ends:
        length = int(ordered[first])
        longest = max(longest, length)
        while (full := begin + max(1, tokens // longest)) < end:
            cut = max(first, full)  # if the longer rows of this run leave no room, it begins a group
            groups.append(rows[begin:cut])
            begin, longest = cut, length
        first = end
    groups.append(rows[begin:])
    return groups


def _split_largest(groups: list[Rows], times: int) -> None:
    """Halve the group with the most rows, `times` times."""
    for _ in range(times):
        largest = max(range(len(groups)), key=lambda i: len(groups[i]))
        rows = groups[largest]
        groups[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
