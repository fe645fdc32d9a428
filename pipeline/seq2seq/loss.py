"""Owns the loss: cross-entropy with label smoothing of a linear layer, without ever holding all its logits.

torch.nn.functional.linear_cross_entropy has the same idea, but not with label smoothing, and in bf16 it returns the
sum rounded to 8 bits (torch 2.13). Here softmax and sums are in the weight's dtype, and the matrix products in the
features'.

Shapes: N tokens, E features, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK = 512  # tokens whose logits exist at once: they stay in the processor's cache


class _SmoothedCrossEntropy(torch.autograd.Function):
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
            # the gradient of the loss by the logits: softmax minus the smoothed target, in the logits' own memory
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
    by_features, by_weight, by_bias = gradients
    by_bias += by_logits.sum(dim=0)
    cast = by_logits.to(features.dtype)
    by_features[rows] = cast @ weight
    by_weight += cast.t() @ features[rows]


def smoothed_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy in nats of `softmax(weight · features + bias)`, summed over all tokens, in the weight's dtype.

    features (N, E), weight (V, E), bias (V,), target (N,) ids. The wanted distribution is (1 - label_smoothing) on the
    target plus label_smoothing spread evenly over V (Szegedy et al. 2015, arXiv 1512.00567, section 7).
    """
    loss: Tensor = _SmoothedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, target, label_smoothing
    )
    return loss
