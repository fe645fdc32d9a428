"""The learning rate over a training, its checks, and the error when memory runs out."""

import pytest
import torch

from pipeline.plumbing.errors import UserError
from pipeline.training.batching import Batch
from pipeline.training.optimization import check_warmup, explain_out_of_memory, schedule


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    assert [schedule(step, 4, 12) for step in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert schedule(8, 4, 12) == pytest.approx(0.5)
    assert schedule(12, 4, 12) == pytest.approx(0.0)
    assert schedule(1, 0, 2) == pytest.approx(0.5)


def test_the_learning_rate_never_falls_in_the_warm_up_and_never_rises_after_it() -> None:
    rates = [schedule(step, 10, 100) for step in range(1, 101)]
    assert rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert schedule(1, 0, 100) == pytest.approx(1, abs=1e-3)


def test_a_warm_up_longer_than_training_is_refused() -> None:
    check_warmup(53, epochs=3, steps_per_epoch=18)
    check_warmup(0, epochs=1, steps_per_epoch=1)
    for warmup in (54, 200):
        message = (
            rf"train\.warmup_steps: got {warmup}, but training has 54 steps \(3 epochs of 18\); set it to about 5,"
        )
        with pytest.raises(UserError, match=message):
            check_warmup(warmup, epochs=3, steps_per_epoch=18)


def test_running_out_of_memory_names_the_shape_of_the_batch_and_the_setting_to_lower() -> None:
    """Allocates 4 TB, more than any machine that runs these tests has."""
    batch = Batch(torch.zeros(3, 7), torch.zeros(3), torch.zeros(3, 11))
    with (
        pytest.raises(UserError, match=r"micro-batch of 3 pairs, 7 source and 11 target .*lower train.micro_batch_tok"),
        explain_out_of_memory(batch, 1000),
    ):
        torch.empty(10**12, dtype=torch.float32).fill_(1)
    with pytest.raises(RuntimeError, match="else"), explain_out_of_memory(batch, 1000):
        raise RuntimeError("something else")
