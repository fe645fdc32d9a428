"""Plan the steps of a training: which pairs make up each micro-batch. The plan is the same in every process.

The plan depends only on the lengths of the sentences, the settings, the seed and the epoch. Every step has the same
number K of micro-batches. Process r of W computes micro-batches r, r + W, r + 2W and so on. So each update learns from
the same sentences, for any number of processes.

The training split may have several shards. In each epoch they come in another order, K of them at a time: micro-batch k
of a step has pairs of the k-th shard. So a process reads only a share of these shards. If fewer than K are left, they
come one after the other; all micro-batches of a step have pairs of the same shard, which each process reads.

How a shard is cut into micro-batches follows from how many of its pairs have which lengths. So every process knows the
size of every micro-batch, and the number of steps, before any shard is read.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.encoding import EncodedSplit, LengthCounts
from ..plumbing.errors import UserError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class MicroBatch:
    """Some pairs of a shard: those at `begin` to `end` in the order of `sorted_rows`."""

    epoch: int
    shard: int
    begin: int
    end: int
    longest: int  # target tokens of the longest pair
    target_tokens: int

    @property
    def pairs(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Step:
    """One optimiser step."""

    micro_batches: Sequence[MicroBatch]

    @property
    def target_tokens(self) -> int:
        """The tokens of all micro-batches; the loss is divided by them."""
        return sum(each.target_tokens for each in self.micro_batches)

    def share(self, rank: int, processes: int) -> list[tuple[int, MicroBatch]]:
        """Return the micro-batches of one process, each with its place in the step."""
        return list(enumerate(self.micro_batches))[rank::processes]


class Plan:
    """The steps of all epochs of a training."""

    def __init__(self, shards: Sequence[LengthCounts], per_step: int, micro_batch_tokens: int, seed: int) -> None:
        """Plan steps of `per_step` micro-batches.

        The pairs of a micro-batch have similar lengths. It has up to `micro_batch_tokens` target tokens, padding
        included, or a single pair if that alone is longer. All shards are cut into the same number of micro-batches.
        """
        self._shards, self._per_step, self._tokens, self._seed = shards, per_step, micro_batch_tokens, seed
        most = max(len(_cut(_zigzag(counts), micro_batch_tokens)) for counts in shards)
        self._per_shard = most + -most % per_step
        fewest = min(int(counts.pairs.sum()) for counts in shards)
        if fewest < self._per_shard:
            what = "the training split" if len(shards) == 1 else "the smallest shard of the training split"
            raise UserError(
                f"{what} has {fewest} pairs, too few for {self._per_shard} micro-batches ({per_step} for each step); "
                "raise train.micro_batch_tokens, lower train.batch_tokens, or use a larger corpus or larger shards"
            )
        self.steps_per_epoch = sum(map(self.length, self.windows(0)))

    def windows(self, epoch: int) -> list[list[int]]:
        """Return the shards of an epoch in the order in which they are read: those that are read together, in lists."""
        count = len(self._shards)
        # The order of the pairs in shard s has the seed [seed, epoch, s].
        order: list[int] = np.random.default_rng([self._seed, epoch, count]).permutation(count).tolist()
        whole = count - count % self._per_step
        together = [order[begin : begin + self._per_step] for begin in range(0, whole, self._per_step)]
        return together + [[shard] for shard in order[whole:]]

    def length(self, window: list[int]) -> int:
        """Return the number of steps of some shards that are read together."""
        return self._per_shard * len(window) // self._per_step

    def steps(self, epoch: int, window: list[int]) -> list[Step]:
        """Return the steps of some shards that are read together. Each of their pairs occurs exactly once."""
        cut = [self._micro_batches(epoch, shard) for shard in window]
        if len(window) == self._per_step:
            return [Step(each) for each in zip(*cut, strict=True)]
        (only,) = cut
        return [Step(only[begin : begin + self._per_step]) for begin in range(0, len(only), self._per_step)]

    def rows(self, split: EncodedSplit, epoch: int, shard: int) -> Rows:
        """Return the rows of a shard, which is in `split`, in the order in which micro-batches count them."""
        return sorted_rows(split, np.random.default_rng([self._seed, epoch, shard]))

    def _micro_batches(self, epoch: int, shard: int) -> list[MicroBatch]:
        """Return the micro-batches of a shard, in random order."""
        lengths = _zigzag(self._shards[shard])
        ends = _cut(lengths, self._tokens)
        _halve_largest(ends, self._per_shard - len(ends))
        begins = [0, *ends[:-1]]
        tokens = np.add.reduceat(lengths, begins, dtype=np.int64).tolist()
        longest = np.maximum.reduceat(lengths, begins).tolist()
        columns = zip(begins, ends, longest, tokens, strict=True)
        micro_batches = [MicroBatch(epoch, shard, *numbers) for numbers in columns]
        random = np.random.default_rng([self._seed, epoch, shard])
        random.random(len(lengths))  # `sorted_rows` takes these
        random.shuffle(micro_batches)
        return micro_batches


def micro_batches_per_step(batch_tokens: int, micro_batch_tokens: int, processes: int) -> int:
    """Return the number of micro-batches in a step. Raise UserError if there are fewer micro-batches than processes."""
    count = max(1, batch_tokens // micro_batch_tokens)
    if processes > count:
        raise UserError(
            f"{processes} processes cannot share the {count} micro-batches of a step; "
            f"lower train.micro_batch_tokens to {batch_tokens // processes} or less (train.batch_tokens / NPROC)"
        )
    return count


def plan_in_order(data: EncodedSplit, tokens: int) -> list[Rows]:
    """Return the micro-batches for validation, sorted by length. They are always the same."""
    rows = np.lexsort((data.target.lengths, data.source.lengths))
    return np.split(rows, _cut(data.target.lengths[rows], tokens)[:-1])


def padding_share(steps: list[Step]) -> float:
    """Return the share of padding in the target tensors, 0 to 1."""
    batches = [each for step in steps for each in step.micro_batches]
    return 1 - sum(each.target_tokens for each in batches) / sum(each.pairs * each.longest for each in batches)


def imbalance(steps: list[Step], processes: int) -> float:
    """Return how many more target tokens the busiest process of a step has than the average process.

    The number is a share of the average, such as 0.1 for 10 % more. It is a mean over the steps.
    """
    if processes == 1:
        return 0.0
    excess = []
    for step in steps:
        loads = [sum(each.target_tokens for _, each in step.share(rank, processes)) for rank in range(processes)]
        excess.append(max(loads) * processes / sum(loads) - 1)
    return float(np.mean(excess))


def sorted_rows(data: EncodedSplit, random: np.random.Generator) -> Rows:
    """Return the rows sorted by source length, then by target length, so that batches need little padding.

    Target lengths increase for odd source lengths and decrease for even ones. So neighbours are similar even where the
    source length changes. Pairs with the same two lengths are in random order.
    """
    keys = _zigzag_keys(data.source.lengths, data.target.lengths)
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


def _zigzag(counts: LengthCounts) -> NDArray[np.int32]:
    """Return the target lengths of all pairs, in the order of `sorted_rows`."""
    order = np.argsort(_zigzag_keys(counts.source, counts.target))
    return np.repeat(counts.target[order], counts.pairs[order])


def _zigzag_keys(source: NDArray[np.int32], target: NDArray[np.int32]) -> NDArray[np.int64]:
    most = int(target.max())
    keys: NDArray[np.int64] = np.multiply(source, most + 1, dtype=np.int64)
    keys += np.where(source % 2, target, most - target)
    return keys


def _cut(lengths: NDArray[np.int32], tokens: int) -> list[int]:
    """Cut pairs with these target lengths, in order, into groups. Return the end of each.

    A group has up to `tokens` target tokens with padding: its pairs times the longest target.
    """
    ends = [*(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]  # of runs of pairs with the same length
    groups, begin, longest, first = [], 0, 0, 0
    for end in ends:
        length = int(lengths[first])
        longest = max(longest, length)
        while (full := begin + max(1, tokens // longest)) < end:
            begin = max(first, full)  # if the longer pairs of this run leave no room, it begins a group
            groups.append(begin)
            longest = length
        first = end
    return [*groups, len(lengths)]


def _halve_largest(ends: list[int], times: int) -> None:
    """Halve the group with the most pairs, `times` times. Groups are given by their ends."""
    groups = [(begin - end, begin) for begin, end in zip([0, *ends], ends, strict=False)]  # negative size, begin
    heapq.heapify(groups)
    for _ in range(times):
        size, begin = groups[0]
        middle = begin + -size // 2
        heapq.heapreplace(groups, (begin - middle, begin))
        heapq.heappush(groups, (middle - begin + size, middle))
        ends.append(middle)
    ends.sort()
