"""Micro-batches: the padded ids of their pairs, and the shards that a process reads for them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from pipeline.data.tokenizer import PAD
from pipeline.plumbing.params import TrainSettings
from pipeline.training.batching import TrainingData, collate
from tests.test_plan import LENGTHS, split_of, steps_of
from tests.toy_training import ToyShards, toy_split

SETTINGS = TrainSettings(batch_tokens=150, micro_batch_tokens=50)


@given(LENGTHS)
def test_a_batch_holds_each_pairs_ids_and_padding_after_them(lengths: list[tuple[int, int]]) -> None:
    data = split_of(lengths)
    rows = np.arange(len(data))[::-2]
    batch = collate(data, rows)
    for i, row in enumerate(rows):
        for side, ids in ((data.source, batch.source), (data.target, batch.target)):
            length = int(side.lengths[row])
            assert ids[i, :length].tolist() == side.sentence(row).tolist()
            assert (ids[i, length:] == PAD).all()
        assert batch.lengths[i] == data.source.lengths[row]


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("shards", [1, 4, 8])
def test_a_process_reads_its_share_of_the_shards_and_those_that_come_next(shards: int, processes: int) -> None:
    for rank in range(processes):
        stored = ToyShards([toy_split(60, n) for n in range(shards)])
        data = TrainingData(stored, SETTINGS, rank, processes)
        plan = data.plan
        windows = [*plan.windows(0), plan.windows(1)[0]]
        for step in data.steps(0, 0):
            for _, micro_batch in step.share(rank, processes):
                assert micro_batch.shard in stored.kept[-1]
        shares = [window[rank::processes] if len(window) == 3 else window for window in windows]
        assert stored.kept == [[*now, *following] for now, following in zip(shares, shares[1:], strict=False)]


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
def test_steps_go_on_from_any_of_them(shards: int) -> None:
    data = TrainingData(ToyShards([toy_split(60, n) for n in range(shards)]), SETTINGS)
    steps = steps_of(data.plan, 2)
    for first in range(len(steps) + 1):
        assert list(data.steps(2, first)) == steps[first:]


def test_a_micro_batch_has_the_pairs_of_its_shard() -> None:
    stored = ToyShards([toy_split(60, n) for n in range(4)])
    data = TrainingData(stored, SETTINGS)
    step = list(data.steps(1, 0))[-1]
    for micro_batch in step.micro_batches:
        batch, rows = data.batch(micro_batch), data.rows(micro_batch)
        expected = [stored.splits[micro_batch.shard].target.sentence(row).tolist() for row in rows]
        assert [[i for i in ids if i != PAD] for ids in batch.target.tolist()] == expected
    first, *_ = step.micro_batches
    told = ", ".join(map(str, sorted(data.rows(first).tolist())))
    assert data.describe([first]) == f"train-{first.shard} (rows {told})"
    elsewhere = replace(first, shard=(first.shard + 1) % 4, epoch=7)  # another process reads it
    assert data.describe([elsewhere, first]) == f"train-{elsewhere.shard}, train-{first.shard} (rows {told})"
