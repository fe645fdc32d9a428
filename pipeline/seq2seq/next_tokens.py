"""Find the most probable next tokens of many hypotheses.

The output layer is the largest matrix product of a step, and only a few of its logits are wanted in full precision. On
a CPU it is therefore computed twice: for the whole vocabulary in 8-bit integers, which finds more candidates than are
needed, and again in fp32 for these candidates. So their logits are exact. Their probabilities are nearly so: the sum
over the vocabulary contains the rough logits of all other tokens. Each row of features and of weights has its own
scale, so no row depends on another.

Shapes: R hypotheses, F features, V vocabulary, P the next multiple of GROUP, C candidates, K tokens wanted.
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
GROUP = 16  # tokens whose highest logit is looked up together


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
        missing = -len(self._weight) % GROUP  # so many tokens that do not exist make the groups equal
        weight = F.pad(self._weight, (0, 0, 0, missing))
        self._rough_bias = F.pad(self._bias, (0, missing), value=-torch.inf)
        scales = weight.abs().amax(dim=1, keepdim=True).clamp_min(TINY) / LARGEST
        self._packed, self._scales = _pack((weight / scales).round().to(torch.int8)), scales[:, 0]
        self._members = torch.arange(0, len(weight), len(weight) // GROUP)[:, None]  # of the first group
        # Features are rounded to integers from -largest to largest. `spare` more candidates than are wanted make up for
        # their rounding: for tokens that get a wrong rank, and for an exact log p.
        self._largest, self._spare = (127, 7) if _sums_are_exact() else (63, 15)
        self._half_up = torch.tensor(self._largest + 1.5)  # makes them positive; conversion to integers rounds down
        self._never = torch.tensor(NEVER)

    def best(self, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rough_logits = self._rough_logits(features)
        rough_log_p = rough_logits.log_softmax(dim=-1)
        rough_logits.index_fill_(1, self._never, float("-inf"))
        found, candidates = self._likeliest(rough_logits, min(count + self._spare, len(self._weight) - len(NEVER)))
        # Z is the sum of exp(logit) over the vocabulary: of exact logits for candidates, and of rough ones for others.
        log_p = rough_log_p.gather(1, candidates)
        rough_log_z = found[:, :1] - log_p[:, :1]
        others = (1 - log_p.exp().sum(dim=1, keepdim=True)).clamp_min_(0).log_() + rough_log_z
        logits = torch.cat([self._exact_logits(features, candidates), others], dim=1)
        best, chosen = logits.log_softmax(dim=1)[:, :-1].topk(count)
        return best, candidates.gather(1, chosen)

    def _rough_logits(self, features: Tensor) -> Tensor:
        """Return the logits (R, P), computed in integers."""
        scale = torch.linalg.vector_norm(features, float("inf"), dim=1, keepdim=True).clamp_min_(TINY) / self._largest
        integers = torch.addcdiv(self._half_up, features, scale).to(torch.uint8)
        products = _integer_linear(integers, self._largest + 1, self._packed, self._scales)
        return torch.addcmul(self._rough_bias, products, scale)

    def _likeliest(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the `count` highest logits of each row (R, P) and their ids, highest first, twice as fast as `topk`.

        They are in the groups with the highest maxima. A group has the ids g, g + G, g + 2 G ..., for G groups.
        """
        maxima = logits.view(len(logits), GROUP, -1).amax(dim=1)  # (R, G)
        groups = maxima.topk(min(count, maxima.shape[1]), sorted=False).indices
        ids = (groups[:, None] + self._members).flatten(1)
        found, chosen = logits.gather(1, ids).topk(count)
        return found, ids.gather(1, chosen).clamp_max_(
            len(self._weight) - 1
        )  # NaN may be at a token that does not exist

    def _exact_logits(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Return the logits (R, C) of the candidates (R, C), computed in fp32."""
        weights = F.embedding(candidates, self._weight)  # (R, C, F)
        return (weights * features[:, None]).sum(dim=2) + self._bias[candidates]  # faster than bmm


def _pack(weights: Tensor) -> Tensor:
    """Return integers (V, F) in oneDNN's layout."""
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weights, [64, weights.shape[1]])
    return packed


def _integer_linear(features: Tensor, offset: int, weights: Tensor, scales: Tensor) -> Tensor:
    """Return scale · weight · (feature - offset) in fp32 (R, V).

    `features` (R, F) are in uint8, which oneDNN reads. `weights` are packed. `scales` (V,) are those of the weights.
    """
    products: Tensor = torch.ops.onednn.qlinear_pointwise(
        features,
        1.0,
        offset,
        weights,
        scales,
        None,
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
    features = torch.full((1, 64), 127 + 128, dtype=torch.uint8)
    weights = torch.full((16, 64), LARGEST, dtype=torch.int8)
    return bool((_integer_linear(features, 128, _pack(weights), torch.ones(16)) == 64 * 127 * LARGEST).all())
