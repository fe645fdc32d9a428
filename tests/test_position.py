"""Which epoch's weights are the best so far."""

import math

import pytest

from pipeline.training.position import Position


@pytest.mark.parametrize(
    ("bleu", "loss", "is_better"),
    [
        (20.1, 2.0, True),
        (20.1, 9.0, True),  # better translations, though the loss is higher
        (19.9, 2.0, False),
        (19.9, 0.1, False),  # worse ones, though the loss is lower
        (20.0, 1.9, True),  # equal ones: the loss decides
        (20.0, 2.1, False),
        (20.0, 2.0, False),  # no better in anything: the first stays
        (20.0, math.nan, False),
    ],
)
def test_better_translations_count_before_a_lower_loss(bleu: float, loss: float, is_better: bool) -> None:
    assert Position(best_epoch=3, best_bleu=20.0, best_loss=2.0).is_best(bleu, loss) is is_better


@pytest.mark.parametrize("loss", [0.0, 1e9, math.inf])
def test_the_first_epoch_is_the_best_so_far(loss: float) -> None:
    assert Position().is_best(0.0, loss)
