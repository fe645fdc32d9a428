"""Owns attention: scores of a query against the keys, masked softmax, and the context vector.

Shapes: B batch, S source length, T target length, H hidden.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Global attention of Luong et al. 2015 (arXiv 1508.04025, section 3.1, equations 7 and 8).

    The decoder's states are the queries, the encoder's states are keys and values:

        weights = softmax(score(query, keys)),  context = weights · values

    This base class scores by the dot product, `query · key`.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def project_keys(self, values: Tensor) -> Tensor:
        """What of the score depends on the source alone, computed once a sentence: (B, S, H) -> (B, S, H)."""
        return values

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """(B, T, H), (B, S, H) -> (B, T, S)."""
        return query @ keys.transpose(1, 2)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Context (B, T, H) and weights (B, T, S); `mask` (B, S) is True at real tokens, the others weigh nothing."""
        scores = self.score(query, keys).to(torch.promote_types(query.dtype, torch.float32))  # bf16 is too coarse here
        weights = scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1)
        return weights.to(values.dtype) @ values, weights


class GeneralAttention(Attention):
    """`queryᵀ W key`: the "general" score of Luong et al. 2015."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)

    def project_keys(self, values: Tensor) -> Tensor:
        keys: Tensor = self.key(values)
        return keys


class AdditiveAttention(Attention):
    """`vᵀ tanh(W query + U key)` of Bahdanau et al. 2014 (arXiv 1409.0473, appendix A.1.2)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.query = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.energy = nn.Linear(hidden_size, 1, bias=False)

    def project_keys(self, values: Tensor) -> Tensor:
        keys: Tensor = self.key(values)
        return keys

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        hidden = torch.tanh(self.query(query)[:, :, None, :] + keys[:, None, :, :])  # (B, T, S, H)
        energy: Tensor = self.energy(hidden)
        return energy.squeeze(-1)


def build_attention(name: str, hidden_size: int) -> Attention:
    """The score function of a setting. `none` scores too, but over one vector: see model.py."""
    classes = {"dot": Attention, "general": GeneralAttention, "additive": AdditiveAttention, "none": Attention}
    return classes[name](hidden_size)
