"""The batch plan: every pair once, batches within the limit, and the same steps for any number of processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.encoding import EncodedSide, EncodedSplit
from pipeline.data.tokenizer import PAD
from pipeline.plumbing.errors import UserError
from pipeline.training.batching import collate, micro_batches_per_step, padding_share, plan_epoch, plan_in_order

LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=8, max_size=80)


def split_of(lengths: list[tuple[int, int]]) -> EncodedSplit:
    """Return pairs with these lengths. The ids count up, so that no two tokens are the same."""

    def side(sizes: list[int]) -> EncodedSide:
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        return EncodedSide(np.arange(4, 4 + offsets[-1], dtype=np.int32), offsets)

    return EncodedSplit(side([s for s, _ in lengths]), side([t for _, t in lengths]))


@given(LENGTHS, st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_pair_once_in_whole_steps(
    lengths: list[tuple[int, int]], per_step: int, seed: int, epoch: int
) -> None:
    data = split_of(lengths)
    steps = plan_epoch(data, per_step, 60, seed, epoch)
    rows = np.concatenate([rows for step in steps for rows in step.micro_batches])
    assert sorted(rows) == list(range(len(data)))
    for step in steps:
        assert len(step.micro_batches) == per_step
        assert step.target_tokens == sum(data.target.lengths[rows].sum() for rows in step.micro_batches)
        for rows in step.micro_batches:
            assert len(rows) == 1 or len(rows) * data.target.lengths[rows].max() <= 60


@given(LENGTHS, st.integers(1, 5))
def test_each_micro_batch_of_a_step_goes_to_exactly_one_process(lengths: list[tuple[int, int]], processes: int) -> None:
    for step in plan_epoch(split_of(lengths), 4, 60, 1, 0):
        shares = [step.share(rank, processes) for rank in range(processes)]
        places = sorted(place for share in shares for place, _ in share)
        assert places == list(range(len(step.micro_batches)))
        for share in shares:
            for place, rows in share:
                assert rows is step.micro_batches[place]


@given(LENGTHS)
def test_validation_reads_every_pair_once(lengths: list[tuple[int, int]]) -> None:
    data = split_of(lengths)
    assert sorted(np.concatenate(plan_in_order(data, 60))) == list(range(len(data)))


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


def test_the_plan_depends_on_epoch_and_seed_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    data = split_of([(int(n), int(n)) for n in random.integers(3, 9, 300)])

    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [rows.tolist() for step in plan_epoch(data, 1, 100, seed, epoch) for rows in step.micro_batches]

    assert plan(1, 0) == plan(1, 0)
    assert plan(1, 0) != plan(1, 1)
    assert plan(1, 0) != plan(2, 0)


def test_every_epoch_has_the_same_number_of_steps() -> None:
    """The learning rate schedule needs the total number of steps in advance."""
    random = np.random.default_rng(0)
    data = split_of([(int(s), int(t)) for s, t in random.integers(2, 30, (500, 2))])
    assert len({len(plan_epoch(data, 2, 200, 1, epoch)) for epoch in range(10)}) == 1


def test_sorting_by_length_leaves_little_padding() -> None:
    random = np.random.default_rng(0)
    sources = random.integers(3, 25, 20_000)
    data = split_of(
        [(int(s), int(max(1, s + d))) for s, d in zip(sources, random.integers(-3, 4, 20_000), strict=True)]
    )
    assert padding_share(data, plan_epoch(data, 1, 2000, 1, 0)) < 0.05


def test_too_few_pairs_for_a_step_are_refused() -> None:
    with pytest.raises(UserError, match="3 pairs, too few for the 8 micro-batches"):
        plan_epoch(split_of([(3, 3)] * 3), 8, 100, 1, 0)


def test_more_processes_than_micro_batches_are_refused() -> None:
    assert micro_batches_per_step(2000, 1000, 2) == 2
    with pytest.raises(UserError, match="3 processes cannot share the 2 .*micro_batch_tokens to 666 or less"):
        micro_batches_per_step(2000, 1000, 3)
