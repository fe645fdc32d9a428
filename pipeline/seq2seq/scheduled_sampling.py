"""Scheduled sampling: in training, the decoder reads some of its own predictions.

The method is that of Bengio et al. 2015 (arXiv 1506.03099). With teacher forcing the decoder always reads the
reference. In translation it reads its own tokens, and an error takes it to states that it never saw in training. With
scheduled sampling each input is a token of the reference or, with a probability that grows during training, a token
drawn from the model's distribution of that token. The gradient does not pass through the draw.

Shapes: B batch, T target length, V target vocabulary.
"""

import math

import torch
from torch import Tensor

from ..plumbing.params import TrainSettings
from .next_tokens import NEVER

RESOLUTION = 2.0**40  # of a probability


def sampling_rate(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Return the probability that an input is drawn from the model in `step`, counted from 1.

    It grows from about 0 to `settings.sampling_rate` at the end of training. The shapes are those of section 2.4 and
    figure 2 of the paper, scaled to the length of training.
    """
    progress = step / total_steps
    match settings.sampling_schedule:
        case "linear":
            share = progress
        case "exponential":
            share = 1 - math.exp(-5 * progress)
        case "inverse_sigmoid":
            share = 1 / (1 + math.exp(6 - 12 * progress))
    return settings.sampling_rate * share


class Sampler:
    """Draws the tokens of a batch that the decoder reads instead of the reference's."""

    def __init__(self, rate: float, inputs: Tensor) -> None:
        """Choose the inputs (B, T) that are drawn. The first one is BOS, which stays."""
        self.is_drawn = torch.rand(inputs.shape, device=inputs.device) < rate
        self._uniform = torch.rand(inputs.shape, dtype=torch.float64, device=inputs.device)

    def draw(self, step: int, logits: Tensor) -> Tensor:
        """Draw input number `step` of each sentence, counted from 0: logits (B, V) that predict it -> ids (B,).

        Ids that translation never predicts are not drawn. If a logit is not finite, neither is the loss of the step,
        so any id will do.
        """
        possible = logits.float().clone()
        for never in NEVER:  # possible[:, NEVER] would make the processor wait for a GPU
            possible[:, never] = float("-inf")
        p = possible.softmax(dim=-1)
        # A GPU adds integers in any order to the same sum; the sum of fp32 numbers would depend on the order.
        cumulated = (p * RESOLUTION).long().cumsum(dim=-1)
        chosen = (self._uniform[:, step, None] * cumulated[:, -1:]).long()
        return torch.searchsorted(cumulated, chosen, right=True)[:, 0].clamp(max=logits.shape[1] - 1)
