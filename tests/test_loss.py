"""The chunked loss against torch's plain cross-entropy: value and all gradients."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.seq2seq import loss
from pipeline.seq2seq.loss import smoothed_cross_entropy

N, E, V = 37, 6, 11


def _leaves(dtype: torch.dtype) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(N, E), (V, E), (V,)]
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    features, weight, bias = (leaf.requires_grad_() for leaf in leaves)
    return (features, weight, bias), torch.randint(0, V, (N,), generator=generator)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_value_and_gradients_equal_plain_cross_entropy(label_smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", 10)  # several chunks, the last one short
    leaves, target = _leaves(torch.float64)
    plain = F.cross_entropy(F.linear(*leaves), target, reduction="sum", label_smoothing=label_smoothing)
    expected = torch.autograd.grad(3 * plain, leaves)
    chunked = smoothed_cross_entropy(*leaves, target, label_smoothing)
    torch.testing.assert_close(chunked, plain, rtol=1e-12, atol=0)
    for mine, theirs in zip(torch.autograd.grad(3 * chunked, leaves), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_bf16_features_lose_no_more_than_bf16_does() -> None:
    leaves, target = _leaves(torch.float32)
    exact = smoothed_cross_entropy(*leaves, target, 0.1)
    coarse = smoothed_cross_entropy(leaves[0].bfloat16(), *leaves[1:], target, 0.1)
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, exact, rtol=5e-3, atol=0)
