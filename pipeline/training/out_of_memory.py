"""Owns what is said when a batch does not fit into memory: its shape, and the setting to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..plumbing.errors import UserError
from .batching import Batch


@contextmanager
def explain_out_of_memory(batch: Batch, micro_batch_tokens: int) -> Iterator[None]:
    """Turn a failure to get memory in this block, where `batch` is learned from, into a UserError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_shortage(error):
            raise
        pairs, source, target = *batch.source.shape, batch.target.shape[1]
        raise UserError(
            f"out of memory with a micro-batch of {pairs} pairs, {source} source and {target} target tokens long: "
            f"{str(error).splitlines()[0]}; lower train.micro_batch_tokens (now {micro_batch_tokens}) "
            "or encode.max_tokens"
        ) from error


def _is_shortage(error: Exception) -> bool:
    # The processor's allocator has no exception of its own.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
