"""The most probable next tokens, compared with those of the output layer in float64."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.seq2seq.next_tokens import LARGEST, NEVER, NextTokens

ROOT = Path(__file__).parents[1]


def output_layer(vocabulary: int, size: int, scale: float, seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    output = nn.Linear(size, vocabulary)
    with torch.no_grad():
        output.weight.normal_(std=scale * size**-0.5)
        output.bias.normal_()
    return output


@torch.no_grad()
def exact(output: nn.Linear, features: Tensor) -> Tensor:
    """Return log p (R, V) in float64, with -inf for tokens that are never predicted."""
    logits = features.double() @ output.weight.double().T + output.bias.double()
    log_p = logits.log_softmax(dim=1)
    log_p[:, NEVER] = float("-inf")
    return log_p


def largest_error(output: nn.Linear, features: Tensor) -> float:
    """Return a bound of the rounding error of a logit: integers differ from weights and features by half a step."""
    weight = output.weight.detach().abs()
    of_features = (features.abs().amax(dim=1) / 63 / 2).max() * weight.sum(dim=1).max()
    of_weights = (weight.amax(dim=1) / LARGEST / 2).max() * features.abs().sum(dim=1).max()
    return 1.1 * float(of_features + of_weights) + 1e-4


@settings(deadline=None, max_examples=150)
@given(
    vocabulary=st.integers(4, 400),
    size=st.integers(1, 70),
    count=st.integers(1, 9),
    scale=st.sampled_from([0.0, 0.1, 1.0, 3.0, 30.0]),
    seed=st.integers(0, 10**6),
)
def test_the_best_tokens_are_those_of_float64(vocabulary: int, size: int, count: int, scale: float, seed: int) -> None:
    output = output_layer(vocabulary, size, scale, seed)
    features = torch.randn(6, size)
    log_p, ids = NextTokens(output).best(features, count)
    assert log_p.shape == ids.shape == (6, min(count, vocabulary - len(NEVER)))
    assert all(len(set(row)) == len(row) and not set(row) & set(NEVER) for row in ids.tolist())
    assert (log_p.diff(dim=1) <= 0).all()
    expected = exact(output, features)
    found = expected.gather(1, ids)
    torch.testing.assert_close(found, expected.topk(ids.shape[1]).values, rtol=1e-5, atol=1e-5)
    assert (log_p - found).abs().max() <= largest_error(output, features)


def test_log_probabilities_of_a_real_size_are_exact_to_two_digits() -> None:
    """8,000 tokens, 256 features, one of them much larger than the others, and a most probable token with 0.4."""
    output = output_layer(8000, 256, 4.0, seed=1)
    features = torch.randn(500, 256)
    features[:, 0] *= 10
    log_p, ids = NextTokens(output).best(features, 5)
    expected = exact(output, features)
    assert 0.3 < expected.max(dim=1).values.exp().mean() < 0.5
    assert (ids == expected.topk(5).indices).float().mean() > 0.999
    error = log_p - expected.gather(1, ids)
    assert error.abs().mean() < 0.005
    assert error.mean().abs() < 0.001


def test_a_row_does_not_depend_on_the_others() -> None:
    next_tokens = NextTokens(output_layer(1000, 64, 3.0, seed=2))
    features = torch.randn(40, 64) * torch.logspace(-3, 3, 40)[:, None]
    log_p, ids = next_tokens.best(features, 5)
    for row in range(40):
        alone, same = next_tokens.best(features[row : row + 1], 5)
        assert (ids[row] == same[0]).all()
        torch.testing.assert_close(log_p[row], alone[0], rtol=0, atol=1e-5)


def test_a_token_without_any_probability_is_still_a_token() -> None:
    """The probability of all tokens but one rounds to 0, and there are as many real tokens as are wanted."""
    output = output_layer(9, 4, 1.0, seed=0)
    with torch.no_grad():
        output.bias.copy_(torch.arange(9.0) * -1000)
    log_p, ids = NextTokens(output).best(torch.randn(2, 4), 8)
    assert ids.tolist() == [[3, 4, 5, 6, 7, 8]] * 2
    assert log_p.isfinite().all()


def test_processors_without_instructions_for_integers_find_the_same() -> None:
    """Such processors add two products in 16 bits. Where those overflow, the sum is wrong and nothing tells."""
    code = """
import torch
from pipeline.seq2seq.next_tokens import NextTokens, _sums_are_exact
torch.manual_seed(0)
output = torch.nn.Linear(64, 1000)
features = torch.randn(30, 64)
log_p, ids = NextTokens(output).best(features, 5)
exact = output(features).log_softmax(1).gather(1, ids)
print(_sums_are_exact(), float((log_p - exact).abs().max()), ids.tolist())
"""
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split(maxsplit=2)
        for isa in ("AVX2", "DEFAULT")
    ]
    assert found[0][0] == "False"
    assert all(float(error) < 0.01 for _, error, _ in found)
    assert found[0][2] == found[1][2]
