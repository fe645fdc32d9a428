"""Attention compared with the formulas of the papers, its gradients, and padding."""

import math

import numpy as np
import pytest
import torch

from pipeline.seq2seq.attention import build_attention

SCORES = ("dot", "general", "additive")
B, S, T, H = 2, 5, 3, 4


@pytest.fixture(params=SCORES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(B, T, H, generator=generator, dtype=torch.float64)
    values = torch.randn(B, S, H, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    return query, values, mask


def _reference(name: str, parameters: dict[str, np.ndarray], query: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weights of one query over one sentence, by the formulas of the papers, one score at a time."""
    scores = []
    for value in values:
        if name == "dot":
            scores.append(query @ value)
        elif name == "general":
            scores.append(query @ parameters["key.weight"] @ value)
        else:
            hidden = parameters["query.weight"] @ query + parameters["key.weight"] @ value + parameters["key.bias"]
            scores.append(parameters["energy.weight"][0] @ np.tanh(hidden))
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return np.array(exponentials) / sum(exponentials)


def test_weights_and_context_follow_the_formula(name: str) -> None:
    attention = build_attention(name, H).double()
    query, values, mask = _inputs()
    context, weights = attention(query, attention.project_keys(values), values, mask)
    parameters = {key: tensor.detach().numpy() for key, tensor in attention.state_dict().items()}
    for b, length in enumerate(mask.sum(1).tolist()):
        for t in range(T):
            expected = _reference(name, parameters, query[b, t].numpy(), values[b, :length].numpy())
            np.testing.assert_allclose(weights[b, t, :length].detach().numpy(), expected, atol=1e-12)
            np.testing.assert_allclose(
                context[b, t].detach().numpy(), expected @ values[b, :length].numpy(), atol=1e-12
            )


def test_padding_gets_no_weight_whatever_its_values(name: str) -> None:
    attention = build_attention(name, H).double()
    query, values, mask = _inputs()
    context, weights = attention(query, attention.project_keys(values), values, mask)
    assert (weights[1, :, 3:] == 0).all()
    values = values.clone()
    values[1, 3:] = 1e6
    again, _ = attention(query, attention.project_keys(values), values, mask)
    torch.testing.assert_close(again, context, rtol=0, atol=0)


def test_gradients_agree_with_finite_differences(name: str) -> None:
    attention = build_attention(name, H).double()
    query, values, mask = _inputs()

    def run(query: torch.Tensor, values: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        named = dict(zip(dict(attention.named_parameters()), parameters, strict=True))
        keys = torch.func.functional_call(_Keys(attention), {f"inner.{k}": v for k, v in named.items()}, (values,))
        context: torch.Tensor = torch.func.functional_call(attention, named, (query, keys, values, mask))[0]
        return context

    inputs = [query.requires_grad_(), values.requires_grad_(), *attention.parameters()]
    assert torch.autograd.gradcheck(run, inputs)


class _Keys(torch.nn.Module):
    """A module that calls `project_keys`, so that functional_call can replace its parameters."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        keys: torch.Tensor = self.inner.project_keys(values)  # type: ignore[operator]
        return keys
