"""Owns what changes over the steps of a training besides the weights: the learning rate, and their moving average."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Weights = tuple[Tensor, ...] | list[Tensor]


def schedule(step: int, warmup: int, total: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to 0 (arXiv 1608.03983, section 3)."""
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def moving_average(decay: float) -> Callable[[Weights, Weights, Tensor | int], None]:
    """Exponential moving average of the weights; the decay grows with the steps, so that the start is forgotten."""

    @torch.no_grad()
    def update(averaged: Weights, current: Weights, steps: Tensor | int) -> None:
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    return update
