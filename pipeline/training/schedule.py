"""Owns what changes over the steps of a training besides the weights: the learning rate, and their moving average."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..plumbing.errors import UserError

Weights = tuple[Tensor, ...] | list[Tensor]


def schedule(step: int, warmup: int, total: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to 0 (arXiv 1608.03983, section 3)."""
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def check_warmup(warmup: int, epochs: int, steps_per_epoch: int) -> None:
    """Raise UserError where the learning rate would still rise at the end of training."""
    total = epochs * steps_per_epoch
    if warmup >= total:
        raise UserError(
            f"train.warmup_steps: got {warmup}, but training has {total} steps ({epochs} epochs of {steps_per_epoch}); "
            f"set it to {total // 10} or so, and train.epochs higher: a model needs thousands of steps"
        )


def moving_average(decay: float) -> Callable[[Weights, Weights, Tensor | int], None]:
    """Exponential moving average of the weights; the decay grows with the steps, so that the start is forgotten."""

    @torch.no_grad()
    def update(averaged: Weights, current: Weights, steps: Tensor | int) -> None:
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    return update
