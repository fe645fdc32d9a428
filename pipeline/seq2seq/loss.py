"""Compute the loss of the output layer: cross-entropy with label smoothing, a few tokens at a time.

The logits of a whole batch, N x V numbers, are never in memory at once. Logits, probabilities and matrix products have
the dtype of the features (bf16), sums over chunks have the dtype of the weights (fp32). Label smoothing needs no pass
over the logits: what it adds is linear in them, so sums over features and weights give it.
torch.nn.functional.linear_cross_entropy works in chunks too, but has no label smoothing, and in bf16 it returns a sum
rounded to 8 bits (torch 2.13).

Shapes: N tokens, E features, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from .cpu_kernels import linear

# How much is in memory at once: on a CPU the logits of so many tokens, which are few enough for its cache; on a GPU so
# many logits, which are enough to keep all of it busy.
CPU_TOKENS, GPU_LOGITS = 512, 2**27


class _SmoothedCrossEntropy(torch.autograd.Function):
    """The loss as an autograd function. `forward` also computes the gradients, while the logits are in memory.

    With the smoothing e, the loss of a token is log Z - (1 - e) logit(target) - e mean(logits). Its gradient by a logit
    is p - e / V, and 1 - e less at the target.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float
    ) -> Tensor:
        dtype, cast, cast_bias = weight.dtype, weight.to(features.dtype), bias.to(features.dtype)
        mean_weight = weight.mean(dim=0)
        smoothing = (-label_smoothing * mean_weight).to(features.dtype)
        total = torch.zeros((), dtype=dtype, device=features.device)
        by_features, by_weight, by_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        chunk = CPU_TOKENS if features.device.type == "cpu" else max(1, GPU_LOGITS // len(weight))
        for begin in range(0, len(features), chunk):
            rows = slice(begin, begin + chunk)
            logits = linear(features[rows], cast, cast_bias)
            at_target = (torch.arange(len(logits), device=logits.device), target[rows])
            p = logits.softmax(dim=1)
            # The likeliest piece gives log Z, because the target's p may be 0 after rounding.
            log_z = logits.amax(dim=1).to(dtype) - p.amax(dim=1).to(dtype).log()
            total += log_z.sum() - (1 - label_smoothing) * logits[at_target].sum(dtype=dtype)
            # At the target the gradient is e minus the sum of the other probabilities. In bf16 that is far more exact
            # than p - 1 + e, because bf16 has few digits just below 1.
            p[at_target] = 0
            p[at_target] = (label_smoothing - p.sum(dim=1, dtype=dtype)).to(p.dtype)
            by_features[rows] = torch.addmm(smoothing, p, cast)
            by_weight += p.t() @ features[rows]
            by_bias += p.sum(dim=0)
        sums = features.sum(dim=0, dtype=dtype)
        total -= label_smoothing * (sums @ mean_weight + len(features) * bias.mean())
        by_weight -= label_smoothing / len(weight) * sums
        by_bias -= label_smoothing / len(weight) * len(features)
        ctx.save_for_backward(by_features, by_weight, by_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        by_features, by_weight, by_bias = ctx.saved_tensors
        return by_features * outputs[0], by_weight * outputs[0], by_bias * outputs[0], None, None


def smoothed_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the cross-entropy in nats of `softmax(weight · features + bias)`, summed over all tokens.

    features (N, E), weight (V, E), bias (V,), target (N,) ids from 0 to V - 1 -> scalar in the weight's dtype. The
    target distribution is (1 - label_smoothing) on the target plus label_smoothing spread evenly over V (Szegedy et al.
    2015, arXiv 1512.00567, section 7).
    """
    loss: Tensor = _SmoothedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, target, label_smoothing
    )
    return loss
