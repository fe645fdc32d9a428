"""Attention: score queries against keys, and average the values by the softmax of the scores.

Shapes: B batch, S source length, T target length, H hidden size.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Global attention of Luong et al. 2015 (arXiv 1508.04025, section 3.1, equations 7 and 8).

    The decoder's states are the queries. The encoder's states are the values, and the keys are made from them:

        weights = softmax(score(query, keys)),  context = weights · values

    This class uses the score "dot", `query · key`. The other scores are its subclasses.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def project_keys(self, values: Tensor) -> Tensor:
        """Return the keys, which are computed once for a sentence and used in all steps: (B, S, H) -> (B, S, H)."""
        return values

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return the score of each query with each key: (B, T, H), (B, S, H) -> (B, T, S)."""
        return query @ keys.transpose(1, 2)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the context (B, T, H) and the weights (B, T, S) of queries (B, T, H).

        `keys` and `values` are (B, S, H). `mask` (B, S) is True at real tokens; padding gets the weight 0. Scores and
        softmax are computed in fp32 or finer.
        """
        scores = self.score(query, keys).to(torch.promote_types(query.dtype, torch.float32))
        weights = scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1)
        return weights.to(values.dtype) @ values, weights


class GeneralAttention(Attention):
    """Attention with the score "general" of Luong et al. 2015 (section 3.1): `queryᵀ W value`."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)

    def project_keys(self, values: Tensor) -> Tensor:
        keys: Tensor = self.key(values)
        return keys


class AdditiveAttention(Attention):
    """Attention with the score `vᵀ tanh(W query + U value + b)`.

    It is the score of Bahdanau et al. 2014 (arXiv 1409.0473, appendix A.1.2), with a bias.
    """

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
    """Return the attention that `model.attention` names. For `none`, Seq2Seq.encode gives each sentence one value."""
    classes = {"dot": Attention, "general": GeneralAttention, "additive": AdditiveAttention, "none": Attention}
    return classes[name](hidden_size)
