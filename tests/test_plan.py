"""The plan: every pair once in an epoch, micro-batches within the limit, the same steps for any number of processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.encoding import EncodedSide, EncodedSplit, LengthCounts
from pipeline.plumbing.errors import UserError
from pipeline.training.plan import (
    Plan,
    Step,
    imbalance,
    micro_batches_per_step,
    padding_share,
    plan_in_order,
    sorted_rows,
)

LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=60, max_size=90)
SHARDS = st.lists(LENGTHS, min_size=1, max_size=7)


def split_of(lengths: list[tuple[int, int]]) -> EncodedSplit:
    """Return pairs with these lengths. The ids count up, so that no two tokens are the same."""

    def side(sizes: list[int]) -> EncodedSide:
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        return EncodedSide(np.arange(4, 4 + offsets[-1], dtype=np.int32), offsets)

    return EncodedSplit(side([s for s, _ in lengths]), side([t for _, t in lengths]))


def plan_of(shards: list[EncodedSplit], per_step: int = 1, tokens: int = 60, seed: int = 1) -> Plan:
    return Plan([LengthCounts.of(shard) for shard in shards], per_step, tokens, seed)


def steps_of(plan: Plan, epoch: int = 0) -> list[Step]:
    return [step for window in plan.windows(epoch) for step in plan.steps(epoch, window)]


@given(SHARDS, st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_pair_once_in_whole_steps(
    lengths: list[list[tuple[int, int]]], per_step: int, seed: int, epoch: int
) -> None:
    shards = [split_of(each) for each in lengths]
    plan = plan_of(shards, per_step, seed=seed)
    steps, seen = steps_of(plan, epoch), []
    assert len(steps) == plan.steps_per_epoch
    for step in steps:
        assert len(step.micro_batches) == per_step
        assert step.target_tokens == sum(each.target_tokens for each in step.micro_batches)
        for each in step.micro_batches:
            rows = plan.rows(shards[each.shard], epoch, each.shard)[each.begin : each.end]
            of_rows = shards[each.shard].target.lengths[rows]
            assert (each.target_tokens, each.longest, each.pairs) == (of_rows.sum(), of_rows.max(), len(rows))
            assert len(rows) == 1 or len(rows) * each.longest <= 60
            seen += [(each.shard, row) for row in rows]
    assert sorted(seen) == [(n, row) for n, shard in enumerate(shards) for row in range(len(shard))]


@given(LENGTHS, st.integers(1, 5))
def test_each_micro_batch_of_a_step_goes_to_exactly_one_process(lengths: list[tuple[int, int]], processes: int) -> None:
    for step in steps_of(plan_of([split_of(lengths)], 4)):
        shares = [step.share(rank, processes) for rank in range(processes)]
        places = sorted(place for share in shares for place, _ in share)
        assert places == list(range(len(step.micro_batches)))
        for share in shares:
            for place, micro_batch in share:
                assert micro_batch is step.micro_batches[place]


@pytest.mark.parametrize(("shards", "windows"), [(1, [1]), (3, [3]), (7, [3, 3, 1]), (8, [3, 3, 1, 1])])
def test_micro_batch_k_of_a_step_reads_the_kth_of_the_shards_that_are_read_together(
    shards: int, windows: list[int]
) -> None:
    random = np.random.default_rng(0)
    splits = [split_of([(int(n), int(n)) for n in random.integers(3, 9, 100)]) for _ in range(shards)]
    plan = plan_of(splits, per_step=3)
    assert [len(window) for window in plan.windows(0)] == windows
    for window in plan.windows(0):
        steps = plan.steps(0, window)
        assert len(steps) == plan.length(window)
        for step in steps:
            read = [each.shard for each in step.micro_batches]
            assert read == (window if len(window) == 3 else window * 3)


def test_shards_come_in_another_order_in_each_epoch() -> None:
    plan = plan_of([split_of([(3, 3)] * 50)] * 20, per_step=2)
    orders = [[shard for window in plan.windows(epoch) for shard in window] for epoch in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert plan.windows(1) == plan.windows(1)


@given(LENGTHS)
def test_validation_reads_every_pair_once(lengths: list[tuple[int, int]]) -> None:
    data = split_of(lengths)
    assert sorted(np.concatenate(plan_in_order(data, 60))) == list(range(len(data)))


def test_the_plan_depends_on_epoch_and_seed_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    data = split_of([(int(n), int(n)) for n in random.integers(3, 9, 300)])

    def pairs(seed: int, epoch: int) -> list[list[int]]:
        plan = plan_of([data], seed=seed)
        rows = plan.rows(data, epoch, 0)
        batches = [each for step in steps_of(plan, epoch) for each in step.micro_batches]
        return [rows[each.begin : each.end].tolist() for each in batches]

    assert pairs(1, 0) == pairs(1, 0)
    assert pairs(1, 0) != pairs(1, 1)
    assert pairs(1, 0) != pairs(2, 0)


@given(SHARDS, st.integers(1, 4))
def test_every_epoch_has_the_same_number_of_steps(lengths: list[list[tuple[int, int]]], per_step: int) -> None:
    """The learning rate schedule needs the total number of steps in advance."""
    plan = plan_of([split_of(each) for each in lengths], per_step)
    assert {len(steps_of(plan, epoch)) for epoch in range(3)} == {plan.steps_per_epoch}


def test_sorting_by_length_leaves_little_padding() -> None:
    random = np.random.default_rng(0)
    sources = random.integers(3, 25, 20_000)
    data = split_of(
        [(int(s), int(max(1, s + d))) for s, d in zip(sources, random.integers(-3, 4, 20_000), strict=True)]
    )
    assert padding_share(steps_of(plan_of([data], tokens=2000))) < 0.05


def test_pairs_of_the_same_lengths_are_in_random_order() -> None:
    data = split_of([(3, 3)] * 100 + [(2, 5)] * 100)
    first, second = (sorted_rows(data, np.random.default_rng(seed)).tolist() for seed in (1, 2))
    assert first != second
    assert sorted(first[:100]) == sorted(second[:100]) == list(range(100, 200))


def test_the_imbalance_is_the_excess_of_the_busiest_process() -> None:
    steps = steps_of(plan_of([split_of([(3, 10)] * 4 + [(3, 30)] * 4)], per_step=2, tokens=30))
    loads = [[each.target_tokens for each in step.micro_batches] for step in steps]
    assert imbalance(steps, 1) == 0
    assert imbalance(steps, 2) == pytest.approx(np.mean([max(load) / np.mean(load) - 1 for load in loads]))


@pytest.mark.parametrize(("pairs", "what"), [([3], "the training split"), ([50, 3], "the smallest shard of ")])
def test_too_few_pairs_for_the_steps_are_refused(pairs: list[int], what: str) -> None:
    with pytest.raises(UserError, match=f"{what}.* has 3 pairs, too few for .* micro-batches .8 for each step"):
        plan_of([split_of([(3, 3)] * count) for count in pairs], per_step=8)


def test_more_processes_than_micro_batches_are_refused() -> None:
    assert micro_batches_per_step(2000, 1000, 2) == 2
    with pytest.raises(UserError, match="3 processes cannot share the 2 .*micro_batch_tokens to 666 or less"):
        micro_batches_per_step(2000, 1000, 3)
