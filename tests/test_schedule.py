"""The learning rate over a training: it rises, then falls to nothing."""

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.training.schedule import check_warmup, schedule


def test_the_rate_rises_in_the_warm_up_and_falls_to_nothing() -> None:
    assert [schedule(step, 4, 12) for step in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert schedule(8, 4, 12) == pytest.approx(0.5)
    assert schedule(12, 4, 12) == pytest.approx(0.0)
    assert schedule(1, 0, 2) == pytest.approx(0.5)


def test_a_warm_up_that_outlasts_training_is_told_with_both_numbers() -> None:
    check_warmup(53, epochs=3, steps_per_epoch=18)
    check_warmup(0, epochs=1, steps_per_epoch=1)
    for warmup in (54, 200):
        told = rf"train\.warmup_steps: got {warmup}, but training has 54 steps \(3 epochs of 18\); set it to 5 "
        with pytest.raises(UserError, match=told):
            check_warmup(warmup, epochs=3, steps_per_epoch=18)
