"""The loss and its gradients, compared with torch's cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.seq2seq import loss
from pipeline.seq2seq.loss import smoothed_cross_entropy

N, E, V = 37, 6, 11
BF16 = 2**-8  # largest relative error of rounding to bf16


def _leaves(
    dtype: torch.dtype, tokens: int = N
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(tokens, E), (V, E), (V,)]
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    features, weight, bias = (leaf.requires_grad_() for leaf in leaves)
    return (features, weight, bias), torch.randint(0, V, (tokens,), generator=generator)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_value_and_gradients_equal_plain_cross_entropy(label_smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CPU_TOKENS", 10)  # several chunks, the last one short
    leaves, target = _leaves(torch.float64)
    plain = F.cross_entropy(F.linear(*leaves), target, reduction="sum", label_smoothing=label_smoothing)
    expected = torch.autograd.grad(3 * plain, leaves)
    chunked = smoothed_cross_entropy(*leaves, target, label_smoothing)
    torch.testing.assert_close(chunked, plain, rtol=1e-12, atol=0)
    for mine, theirs in zip(torch.autograd.grad(3 * chunked, leaves), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_a_target_whose_probability_rounds_to_0_has_a_finite_loss() -> None:
    features, weight, bias = torch.tensor([[1.0]]), torch.tensor([[500.0], [0.0]]), torch.zeros(2)
    assert smoothed_cross_entropy(features, weight, bias, torch.tensor([1])) == 500


def test_with_bf16_features_the_loss_is_fp32_and_close() -> None:
    leaves, target = _leaves(torch.float32)
    exact = smoothed_cross_entropy(*leaves, target, 0.1)
    coarse = smoothed_cross_entropy(leaves[0].bfloat16(), *leaves[1:], target, 0.1)
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, exact, rtol=5e-3, atol=0)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_with_bf16_features_gradients_differ_from_float64_by_bf16_rounding(
    label_smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses 300 chunks: adding them up in bf16, with its 8 bits, would lose most of them."""
    monkeypatch.setattr(loss, "CPU_TOKENS", 10)
    (features, weight, bias), target = _leaves(torch.float32, tokens=3000)
    coarse = features.detach().bfloat16().requires_grad_()
    mine = torch.autograd.grad(
        3 * smoothed_cross_entropy(coarse, weight, bias, target, label_smoothing), (coarse, weight, bias)
    )
    exact = [leaf.detach().double().requires_grad_() for leaf in (coarse, weight, bias)]
    plain = F.cross_entropy(F.linear(*exact), target, reduction="sum", label_smoothing=label_smoothing)
    assert [gradient.dtype for gradient in mine] == [torch.bfloat16, torch.float32, torch.float32]
    for gradient, expected in zip(mine, torch.autograd.grad(3 * plain, exact), strict=True):
        assert (gradient.double() - expected).norm() < BF16 * expected.norm()
