"""Compute the loss of the output layer: cross-entropy with label smoothing, a few tokens at a time.

The logits of a whole batch, N x V numbers, are never in memory at once. Matrix products have the dtype of the features
(bf16). Softmax and sums have the dtype of the weights (fp32). torch.nn.functional.linear_cross_entropy works in chunks
too, but has no label smoothing, and in bf16 it returns a sum rounded to 8 bits (torch 2.13).

Shapes: N tokens, E features, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK = 512  # tokens whose logits are in memory at once; they are few enough for the CPU's cache


class _SmoothedCrossEntropy(torch.autograd.Function):
    """The loss as an autograd function. `forward` also computes the gradients, while the logits are in memory."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float
    ) -> Tensor:
        vocabulary, cast = len(weight), weight.to(features.dtype)
        total = torch.zeros((), dtype=weight.dtype, device=features.device)
        gradients = (torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias))
        for begin in range(0, len(features), CHUNK):
            rows = slice(begin, begin + CHUNK)
            wanted = target[rows, None]
            logits = (features[rows] @ cast.t()).to(weight.dtype) + bias
            log_z = logits.logsumexp(dim=1, keepdim=True)
            total += (
                log_z
                - (1 - label_smoothing) * logits.gather(1, wanted)
                - label_smoothing * logits.mean(1, keepdim=True)
            ).sum()
            # The gradient of the logits is softmax minus smoothed target. It overwrites the logits, to save memory.
            logits.sub_(log_z).exp_().sub_(label_smoothing / vocabulary)
            logits.scatter_add_(1, wanted, torch.full_like(log_z, label_smoothing - 1))
            _accumulate(gradients, rows, features, cast, logits)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        by_features, by_weight, by_bias = ctx.saved_tensors
        return by_features * outputs[0], by_weight * outputs[0], by_bias * outputs[0], None, None


def _accumulate(
    gradients: tuple[Tensor, Tensor, Tensor], rows: slice, features: Tensor, weight: Tensor, by_logits: Tensor
) -> None:
    """Add the gradients of some rows to `gradients`. `by_logits` is the gradient of the loss by their logits."""
    by_features, by_weight, by_bias = gradients
    by_bias += by_logits.sum(dim=0)
    cast = by_logits.to(features.dtype)
    by_features[rows] = cast @ weight
    by_weight += cast.t() @ features[rows]


def smoothed_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the cross-entropy in nats of `softmax(weight · features + bias)`, summed over all tokens.

    features (N, E), weight (V, E), bias (V,), target (N,) ids -> scalar in the weight's dtype. The target distribution
    is (1 - label_smoothing) on the target plus label_smoothing spread evenly over V (Szegedy et al. 2015,
    arXiv 1512.00567, section 7).
    """
    loss: Tensor = _SmoothedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, target, label_smoothing
    )
    return loss
