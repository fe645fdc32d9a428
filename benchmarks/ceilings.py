"""Measure what the machine can do at most: matrix products at the shapes of the network, and copies in memory."""

import time
from collections.abc import Callable, Iterable
from functools import cache
from statistics import median
from typing import Any

import torch

from pipeline.processes import is_bf16_faster

from .arithmetic import Product

REPEATS = 5
SECONDS = 0.05  # that one repeat takes at least
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # where the network is computed
COPIED = 256 * 2**20  # bytes; more than any cache holds
BIG = Product(2048, 2048, 2048)


def precisions() -> list[str]:
    """Return the number formats in which this machine multiplies fast."""
    return ["fp32", *(["bf16"] if is_bf16_faster() else []), *(["int8"] if DEVICE.type == "cpu" else [])]


def seconds_for(products: Iterable[Product], precision: str) -> float:
    """Return the time that these products take one after another, each at the rate that it reaches alone."""
    return sum(product.operations / rate(_once(product), precision) for product in products)


@cache
def rate(product: Product, precision: str) -> float:
    """Return the operations per second of one product: fp32, bf16, or int8 with packed weights."""
    multiply = _multiplication(product, precision)
    return product.operations / _seconds(multiply)


def bandwidth() -> float:
    """Return the bytes per second that are read and written when a large tensor is copied."""
    origin = torch.ones(COPIED, dtype=torch.uint8, device=DEVICE)
    copy = torch.empty_like(origin)
    return 2 * COPIED / _seconds(lambda: copy.copy_(origin))


def _once(product: Product) -> Product:
    return Product(product.rows, product.inner, product.columns, product.batch)


def _multiplication(product: Product, precision: str) -> Callable[[], object]:
    left = torch.randn(product.batch, product.rows, product.inner, device=DEVICE)
    right = torch.randn(product.batch, product.inner, product.columns, device=DEVICE)
    if precision == "int8":
        if product.batch > 1:  # products with the keys and values of a sentence are never quantised
            precision = "fp32"
        else:
            return _int8_multiplication(left[0], right[0])
    if precision == "bf16":
        left, right = left.bfloat16(), right.bfloat16()
    return (lambda: torch.bmm(left, right)) if product.batch > 1 else (lambda: left[0] @ right[0])


def _int8_multiplication(left: torch.Tensor, right: torch.Tensor) -> Callable[[], object]:
    """Return a product of oneDNN with the weights `right`, packed once, and a result in fp32."""
    quantised = (left * 32 + 128).clamp(0, 255).to(torch.uint8)
    weights = (right.t() * 32).to(torch.int8).contiguous()
    packed = torch.ops.onednn.qlinear_prepack(weights, list(left.shape))
    scales, zeros = torch.ones(len(weights)), torch.zeros(len(weights), dtype=torch.int32)
    result: tuple[Any, ...] = (
        None,
        1.0,
        0,
        torch.float32,
        "none",
        [],
        "",
    )  # no bias, nothing else
    return lambda: torch.ops.onednn.qlinear_pointwise(quantised, 1.0, 128, packed, scales, zeros, *result)


def _seconds(work: Callable[[], object]) -> float:
    """Return the median time of one call, over repeats that are long enough to measure."""
    _time(work, 1)
    calls = max(1, round(SECONDS / _time(work, 1)))
    return median(_time(work, calls) / calls for _ in range(REPEATS))


def _time(work: Callable[[], object], calls: int) -> float:
    """Return the time of so many calls, until the device has finished them."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
