"""Use oneDNN for products in fp32 on CPUs. On those of AMD it is up to twice as fast as the library that torch uses."""

import torch
import torch.nn.functional as F
from torch import Tensor


def has_cpu_kernels(tensor: Tensor) -> bool:
    """Return whether `tensor` is in fp32 on a CPU for which oneDNN has fast kernels, for 8-bit integers too."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    )


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return `inputs · weightᵀ + bias`. With oneDNN the result has no gradient.

    inputs (rows, in), weight (out, in) as it is or in oneDNN's layout, bias (out,) -> (rows, out). Under autocast
    torch's own product is used, which then is in bf16.
    """
    if not has_cpu_kernels(inputs) or torch.is_autocast_enabled("cpu"):
        return F.linear(inputs, weight, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return product
