"""Threads that compute several batches at once, each with one core."""

import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, cast

import pytest
import torch

from pipeline.seq2seq.workers import map_in_threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_and_each_thread_has_one_core() -> None:
    together = threading.Barrier(3)  # it breaks unless three batches are computed at once

    def work(batch: int) -> tuple[int, int]:
        together.wait(timeout=60)
        time.sleep(0.01 * (2 - batch % 3))
        return batch, torch.get_num_threads()

    assert list(map_in_threads(work, range(9), CPU)) == [(batch, 1) for batch in range(9)]
    assert torch.get_num_threads() == 3


def test_threads_that_begin_meanwhile_or_later_have_all_cores() -> None:
    """torch takes the number of a new thread from the last number that any thread has set."""
    seen = []

    def begin() -> None:
        list(map_in_threads(lambda batch: time.sleep(0.01), range(6), CPU))
        seen.append(torch.get_num_threads())

    callers = [threading.Thread(target=begin) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [3] * 5
    assert torch.get_num_threads() == 3


def test_closed_early_it_gives_up_the_batches_that_wait() -> None:
    begun = []

    def work(batch: int) -> int:
        begun.append(batch)
        time.sleep(0.02)
        return batch

    with closing(cast(Generator[int], map_in_threads(work, range(100), CPU))) as results:
        assert [next(results) for _ in range(2)] == [0, 1]
    time.sleep(0.2)
    assert len(begun) < 20


def test_an_error_reaches_the_caller_and_later_calls_work() -> None:
    def work(batch: int) -> int:
        if batch == 1:
            raise MemoryError("no memory")
        return batch

    with pytest.raises(MemoryError, match="no memory"):
        list(map_in_threads(work, range(3), CPU))
    assert list(map_in_threads(work, [5, 6], CPU)) == [5, 6]


def test_a_gpu_gets_one_batch_at_a_time() -> None:
    active: list[Any] = []

    def work(batch: int) -> int:
        active.append(batch)
        time.sleep(0.02)
        assert active == [batch]
        active.remove(batch)
        return batch

    assert list(map_in_threads(work, range(4), torch.device("cuda"))) == [0, 1, 2, 3]


def test_a_forked_process_makes_threads_of_its_own() -> None:
    assert list(map_in_threads(abs, [-1], CPU)) == [1]
    child = os.fork()
    if child == 0:
        os._exit(0 if list(map_in_threads(abs, [-1, -2], CPU)) == [1, 2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
