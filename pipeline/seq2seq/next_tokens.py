"""Find the most probable next tokens of many hypotheses.

The output layer is the largest matrix product of a step, and only a few of its logits are wanted in full precision. On
a CPU it is therefore computed twice: for the whole vocabulary in 8-bit integers, which finds more candidates than are
needed, and again in fp32 for these candidates. So their logits are exact. Their probabilities are nearly so: the sum
over the vocabulary contains the rough logits of all other tokens. Each row of features and of weights has its own
scale, so no row depends on another.

Shapes: R hypotheses, F features, V vocabulary, C candidates, K tokens wanted.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.tokenizer import BOS, PAD, UNK
from .cpu_kernels import has_cpu_kernels

NEVER = [PAD, UNK, BOS]  # ids that are never predicted
LARGEST = 127  # of the integers for a weight
TINY = 1e-12  # a scale is not 0


class NextTokens:
    """Finds the most probable next tokens. It belongs to the weights that `output` has when it is made."""

    def __init__(self, output: nn.Linear) -> None:
        self._output = output
        self._quantised = _Quantised(output) if has_cpu_kernels(output.weight) else None

    def best(self, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return log p (R, K) and ids (R, K) of the most probable next tokens after features (R, F), best first.

        K is `count`, or the number of tokens that can be predicted if there are fewer.
        """
        count = min(count, self._output.out_features - len(NEVER))
        if self._quantised:
            return self._quantised.best(features, count)
        log_p, ids = log_probabilities(self._output(features)).topk(count)
        return log_p, ids


def log_probabilities(logits: Tensor) -> Tensor:
    """Return log p (rows, V) of logits (rows, V). Ids in NEVER get -inf; the other probabilities are not rescaled."""
    log_p = logits.float().log_softmax(dim=-1)
    log_p[:, NEVER] = float("-inf")
    return log_p


class _Quantised:
    """The output layer in 8-bit integers, with the fp32 weights beside it."""

    def __init__(self, output: nn.Linear) -> None:
        self._weight, self._bias = output.weight.detach(), output.bias.detach()
        scales = self._weight.abs().amax(dim=1, keepdim=True).clamp_min(TINY) / LARGEST
        self._packed, self._scales = _pack((self._weight / scales).round().to(torch.int8)), scales[:, 0]
        # Features are rounded to integers from -largest to largest. `spare` more candidates than are wanted make up for
        # their rounding: for tokens that get a wrong rank, and for an exact log p.
        self._largest, self._spare = (127, 7) if _sums_are_exact() else (63, 15)

    def best(self, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rough_logits = self._rough_logits(features)
        rough_p = rough_logits.softmax(dim=-1)
        rough_log_z = rough_logits.amax(dim=1, keepdim=True) - rough_p.amax(dim=1, keepdim=True).log()
        rough_logits[:, NEVER] = float("-inf")
        candidates = rough_logits.topk(min(count + self._spare, len(self._weight) - len(NEVER))).indices
        logits = self._exact_logits(features, candidates)
        # Z is the sum of exp(logit) over the vocabulary: of exact logits for candidates, and of rough ones for others.
        others = (1 - rough_p.gather(1, candidates).sum(dim=1, keepdim=True)).clamp_min(0)
        log_z = torch.logaddexp(rough_log_z + others.log(), logits.logsumexp(dim=1, keepdim=True))
        best, chosen = (logits - log_z).topk(count)
        return best, candidates.gather(1, chosen)

    def _rough_logits(self, features: Tensor) -> Tensor:
        """Return the logits (R, V), computed in integers."""
        scale = features.abs().amax(dim=1, keepdim=True).clamp_min(TINY) / self._largest
        products = _integer_linear((features / scale).round(), self._largest, self._packed, self._scales)
        return torch.addcmul(self._bias, products, scale)

    def _exact_logits(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Return the logits (R, C) of the candidates (R, C), computed in fp32."""
        weights = F.embedding(candidates, self._weight)  # (R, C, F)
        return (weights * features[:, None]).sum(dim=2) + self._bias[candidates]  # faster than bmm


def _pack(weights: Tensor) -> Tensor:
    """Return integers (V, F) in oneDNN's layout."""
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weights, [64, weights.shape[1]])
    return packed


def _integer_linear(features: Tensor, largest: int, weights: Tensor, scales: Tensor) -> Tensor:
    """Return scale · weight · feature (R, V), of features (R, F), packed weights and `scales` (V,).

    The features are whole numbers from -largest to largest. The result is in fp32, like the features.
    """
    offset = largest + 1  # oneDNN reads them without a sign
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    products: Tensor = torch.ops.onednn.qlinear_pointwise(
        (features + offset).to(torch.uint8),
        1.0,
        offset,
        weights,
        scales,
        zeros,
        None,
        1.0,
        0,
        torch.float32,
        "none",
        [],
        "",
    )
    return products


@cache
def _sums_are_exact() -> bool:
    """Return whether oneDNN sums the products of 8-bit integers exactly.

    On processors without VNNI it adds two products in 16 bits. Then 2 * 127 * 127 is exact, and 2 * 255 * 127 is not.
    """
    features, weights = torch.full((1, 64), 127.0), torch.full((16, 64), LARGEST, dtype=torch.int8)
    return bool((_integer_linear(features, 127, _pack(weights), torch.ones(16)) == 64 * 127 * LARGEST).all())
