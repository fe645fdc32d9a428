"""Attention: score queries against keys, and average the values by the softmax of the scores.

Another score function is a subclass of Attention with its own `name`, and that name in `ModelSettings.attention`.

Shapes: B batch, S source length, T target length, H hidden size.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..plumbing.params import ModelSettings


class Attention(nn.Module):
    """Global attention of Luong et al. 2015 (arXiv 1508.04025, section 3.1, equations 7 and 8).

    The decoder's states are the queries. The encoder's states are the values, and the keys are made from them:

        weights = softmax(score(query, keys)),  context = weights · values

    This class uses the score "dot", `query · key`. The other scores are its subclasses.
    """

    name: ClassVar[str] = "dot"

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()

    def project_keys(self, states: Tensor) -> Tensor:
        """Return the keys, which are computed once for a sentence and used in all steps: (B, S, H) -> (B, S, H)."""
        return states

    def project_values(self, states: Tensor) -> Tensor:
        """Return the values, in the same way."""
        return states

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return the score of each query with each key: (B, T, H), (B, S, H) -> (B, T, S)."""
        return query @ keys.transpose(1, 2)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the context (B, T, H) and the weights (B, T, S) of queries (B, T, H).

        `keys` and `values` are (B, S, H). `mask` (B, S) is True at real tokens; padding gets the weight 0. Scores and
        softmax are computed in fp32 or finer.
        """
        weights = _softmax(self.score(query, keys), mask[:, None])
        return weights.to(values.dtype) @ values, weights


class GeneralAttention(Attention):
    """Attention with the score "general" of Luong et al. 2015 (section 3.1): `queryᵀ W key`."""

    name = "general"

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.key = nn.Linear(settings.hidden_size, settings.hidden_size, bias=False)

    def project_keys(self, states: Tensor) -> Tensor:
        keys: Tensor = self.key(states)
        return keys


class AdditiveAttention(Attention):
    """Attention with the score `vᵀ tanh(W query + U key + b)`.

    It is the score of Bahdanau et al. 2014 (arXiv 1409.0473, appendix A.1.2), with a bias.
    """

    name = "additive"
    has_bias: ClassVar[bool] = True

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        hidden = settings.hidden_size
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=self.has_bias)
        self.energy = nn.Linear(hidden, 1, bias=False)

    def project_keys(self, states: Tensor) -> Tensor:
        keys: Tensor = self.key(states)
        return keys

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        hidden = torch.tanh(self.query(query)[:, :, None, :] + keys[:, None, :, :])  # (B, T, S, H)
        energy: Tensor = self.energy(hidden)
        return energy.squeeze(-1)


class ConcatAttention(AdditiveAttention):
    """Attention with the score "concat" of Luong et al. 2015 (section 3.1): `vᵀ tanh(W [query ; key])`.

    The left half of W belongs to the query and the right half to the key. So it is the additive score without a bias.
    """

    name = "concat"
    has_bias = False


class MultiHeadAttention(Attention):
    """Additive attention in several heads, as in RNMT+ (Chen et al. 2018, arXiv 1804.09849, section 4.1).

    Each of N heads has its own slice, of size H / N, of the projected queries, keys and values, and weights of its own.
    The contexts of the heads are concatenated. The projection that follows in the paper is left out, because another
    linear layer reads the context. The weights that are returned are the mean over the heads.
    """

    name = "multihead"

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        hidden, self.heads = settings.hidden_size, settings.attention_heads
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.energy = nn.Parameter(torch.empty(hidden))
        nn.init.uniform_(self.energy, -((self.heads / hidden) ** 0.5), (self.heads / hidden) ** 0.5)

    def project_keys(self, states: Tensor) -> Tensor:
        keys: Tensor = self.key(states)
        return keys

    def project_values(self, states: Tensor) -> Tensor:
        values: Tensor = self.value(states)
        return values

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return the scores of all heads: (B, T, H), (B, S, H) -> (B, N, T, S)."""
        hidden = torch.tanh(self.query(query)[:, :, None, :] + keys[:, None, :, :])  # (B, T, S, H)
        return self._split(hidden * self.energy).sum(dim=-1).permute(0, 3, 1, 2)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = _softmax(self.score(query, keys), mask[:, None, None])
        of_heads = self._split(values).transpose(1, 2)  # (B, N, S, H / N)
        context = (weights.to(values.dtype) @ of_heads).transpose(1, 2).flatten(2)
        return context, weights.mean(dim=1)

    def _split(self, features: Tensor) -> Tensor:
        """Split the last axis among the heads: (..., H) -> (..., N, H / N)."""
        return features.view(*features.shape[:-1], self.heads, -1)


class NoAttention(Attention):
    """The bottleneck: Seq2Seq.encode gives each sentence one value, which gets all the weight."""

    name = "none"


def build_attention(settings: ModelSettings) -> Attention:
    """Return the attention that `model.attention` names."""
    kinds: list[type[Attention]] = [Attention]
    for kind in kinds:  # grows in the loop
        kinds += kind.__subclasses__()
    return next(kind for kind in kinds if kind.name == settings.attention)(settings)


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax over the last axis in fp32 or finer; 0 where the mask is False."""
    exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return exact.masked_fill(~mask, float("-inf")).softmax(dim=-1)
