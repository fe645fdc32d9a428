"""Attention compared with the formulas of the papers, its gradients, and padding."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from pipeline.plumbing.params import ModelSettings
from pipeline.seq2seq.attention import Attention, build_attention

SCORES = ("dot", "general", "concat", "additive", "multihead")
B, S, T, H, N = 2, 5, 3, 4, 2  # N heads


@pytest.fixture(params=SCORES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(B, T, H, generator=generator, dtype=torch.float64)
    values = torch.randn(B, S, H, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    return query, values, mask


def _build(name: str) -> Attention:
    return build_attention(ModelSettings.model_validate({"attention": name, "hidden_size": H, "attention_heads": N}))


def _reference(
    name: str, parameters: dict[str, np.ndarray], query: np.ndarray, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the context of one query over one sentence, by the formulas, one score at a time."""
    if name != "multihead":
        weights = _softmax_of([_score(name, parameters, query, state) for state in states])
        return weights, weights @ states
    heads, contexts = [], []
    for head in range(N):
        mine = slice(head * H // N, (head + 1) * H // N)
        own = {key: array[mine] for key, array in parameters.items()}
        own["energy.weight"] = parameters["energy"][None, mine]
        heads.append(_softmax_of([_score("additive", own, query, state) for state in states]))
        values = np.array([own["value.weight"] @ state + own["value.bias"] for state in states])
        contexts.append(heads[-1] @ values)
    return np.mean(heads, axis=0), np.concatenate(contexts)


def _score(name: str, parameters: dict[str, np.ndarray], query: np.ndarray, state: np.ndarray) -> float:
    if name == "dot":
        return float(query @ state)
    if name == "general":
        return float(query @ parameters["key.weight"] @ state)
    if name == "concat":
        hidden = np.hstack([parameters["query.weight"], parameters["key.weight"]]) @ np.concatenate([query, state])
    else:
        hidden = parameters["query.weight"] @ query + parameters["key.weight"] @ state + parameters["key.bias"]
    return float(parameters["energy.weight"][0] @ np.tanh(hidden))


def _softmax_of(scores: list[float]) -> np.ndarray:
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return np.array(exponentials) / sum(exponentials)


def test_weights_and_context_follow_the_formula(name: str) -> None:
    attention = _build(name).double()
    query, states, mask = _inputs()
    context, weights = attention(query, attention.project_keys(states), attention.project_values(states), mask)
    parameters = {key: tensor.detach().numpy() for key, tensor in attention.state_dict().items()}
    for b, length in enumerate(mask.sum(1).tolist()):
        for t in range(T):
            expected, mean = _reference(name, parameters, query[b, t].numpy(), states[b, :length].numpy())
            np.testing.assert_allclose(weights[b, t, :length].detach().numpy(), expected, atol=1e-12)
            np.testing.assert_allclose(context[b, t].detach().numpy(), mean, atol=1e-12)


def test_every_score_function_of_the_settings_has_its_class() -> None:
    names = get_args(ModelSettings.model_fields["attention"].annotation)
    assert set(names) == {*SCORES, "none"}
    assert {_build(name).name for name in names} == set(names)


def test_heads_must_share_the_hidden_size_evenly() -> None:
    with pytest.raises(ValueError, match="attention_heads: got 3, expected a divisor of hidden_size: 4"):
        ModelSettings(attention="multihead", hidden_size=4, attention_heads=3)
    ModelSettings(attention="dot", hidden_size=4, attention_heads=3)


def test_padding_gets_no_weight_whatever_its_values(name: str) -> None:
    attention = _build(name).double()
    query, states, mask = _inputs()
    context, weights = attention(query, attention.project_keys(states), attention.project_values(states), mask)
    assert (weights[1, :, 3:] == 0).all()
    states = states.clone()
    states[1, 3:] = 1e6
    again, _ = attention(query, attention.project_keys(states), attention.project_values(states), mask)
    torch.testing.assert_close(again, context, rtol=0, atol=0)


def test_gradients_agree_with_finite_differences(name: str) -> None:
    whole = _Whole(_build(name)).double()
    query, states, mask = _inputs()

    def run(query: torch.Tensor, states: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        named = dict(zip(dict(whole.named_parameters()), parameters, strict=True))
        context: torch.Tensor = torch.func.functional_call(whole, named, (query, states, mask))
        return context

    inputs = [query.requires_grad_(), states.requires_grad_(), *whole.parameters()]
    assert torch.autograd.gradcheck(run, inputs)


class _Whole(torch.nn.Module):
    """A module that computes contexts from queries and states, so that functional_call can replace its parameters."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, query: torch.Tensor, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        keys, values = self.attention.project_keys(states), self.attention.project_values(states)
        context: torch.Tensor = self.attention(query, keys, values, mask)[0]
        return context
