"""Compute several batches at once, in threads that use one core each.

That is faster than to share each operation of one batch between the cores, because most operations are short. torch
runs them without Python's lock.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier, Lock
from typing import TypeVar

import torch

MOST = 16  # more threads would wait for each other, because only one of them can run Python code at a time

T = TypeVar("T")
U = TypeVar("U")


def map_in_threads(function: Callable[[T], U], batches: Iterable[T], device: torch.device) -> Iterator[U]:
    """Yield `function` of each batch, in order. If the iterator is closed early, batches that wait are given up.

    There are as many threads as torch uses here, at most MOST of them, and one for a GPU.
    """
    pool = _workers(MOST if device.type == "cpu" else 1)
    results = [pool.submit(function, batch) for batch in batches]
    try:
        for result in results:
            yield result.result()
    finally:
        for result in results:
            result.cancel()


_lock = Lock()


def _workers(most: int) -> ThreadPoolExecutor:
    with _lock:  # while a pool is made, torch tells a new thread another number
        return _pool(min(most, torch.get_num_threads()))


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    """Return `size` threads with one core each. They stay for the next call, since each keeps memory of its own."""
    pool, all_begun, threads = ThreadPoolExecutor(size, "worker"), Barrier(size), torch.get_num_threads()

    def begin() -> None:
        torch.get_num_threads()  # a thread takes the process's number at its first question, and does not take it again
        torch.set_num_threads(1)
        all_begun.wait()

    for begun in [pool.submit(begin) for _ in range(size)]:
        begun.result()
    torch.set_num_threads(threads)  # torch also gives the last number that was set to threads that begin later
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child process has none of the threads
