"""Apply a function to the parts of a corpus, in several processes of this machine or of a Ray cluster.

The result is the same for every engine: it has the order of the parts.
"""

import gc
import logging
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Protocol, TypeVar

import joblib

from ..plumbing.errors import UserError

RAY = "ray[data]==2.60.0"
AHEAD = 2  # parts for each process that are given to it before it asks for them

Part = TypeVar("Part")
Result = TypeVar("Result")


class Engine(Protocol):
    """A way to compute, given to the steps that make a corpus."""

    def __call__(self, function: Callable[[Part], Result], parts: Iterable[Part], /) -> Iterator[Result]:
        """Yield function(part) of each part, in order. The function can be pickled and repeated."""


def number_of_processes() -> int:
    """Return the number in NUM_PROC, or else that of the cores that this process may use."""
    typed = os.environ.get("NUM_PROC") or str(joblib.cpu_count())
    if not typed.isdecimal() or not int(typed):
        raise UserError(f"NUM_PROC: got {typed!r}, expected a number of processes, at least 1")
    return int(typed)


@contextmanager
def open_engine() -> Iterator[Engine]:
    """Yield the engine that the environment asks for: processes of this machine, or those of a Ray cluster."""
    name = os.environ.get("ENGINE") or "processes"
    if name not in ("processes", "ray"):
        raise UserError(f"ENGINE: got {name!r}, expected processes or ray")
    with _processes(number_of_processes()) if name == "processes" else _ray() as engine:
        yield engine


@contextmanager
def _processes(number: int) -> Iterator[Engine]:
    """Yield an engine that has so many processes. A single part is computed in this one, because the others are slow
    to start.
    """
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"):
        os.environ.pop(name, None)  # Make sets them for training; these processes shall give memory back to the system
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, context, initializer=_prepare) as pool:

        def engine(function: Callable[[Part], Result], parts: Iterable[Part], /) -> Iterator[Result]:
            rest = iter(parts)
            first = list(islice(rest, 2))
            if number == 1 or len(first) < 2:
                yield from map(function, chain(first, rest))
                return
            try:
                yield from _in_order(pool, function, chain(first, rest), AHEAD * number)
            except BrokenProcessPool:
                raise UserError(
                    "a process was killed, perhaps because memory ran out; run the same command again with fewer "
                    "processes, e.g. NUM_PROC=1"
                ) from None

        try:
            yield engine
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()  # not to wait until they have finished their parts
            raise


@contextmanager
def _ray() -> Iterator[Engine]:
    """Yield an engine that is a Ray cluster: the one at RAY_ADDRESS, or else one of this machine's cores.

    Parts are files, so all nodes must have this directory under the same name. Ray computes a part again if its node
    dies.
    """
    try:
        import ray.data
    except ImportError:
        raise UserError(f"ENGINE=ray: Ray is not installed; run: .venv/bin/python -m pip install '{RAY}'") from None
    here, code = os.getcwd(), str(Path(__file__).resolve().parents[2])
    ray.init(log_to_driver=False, logging_level="warning", runtime_env={"env_vars": {"PYTHONPATH": code}})
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of each step
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.execution_options.preserve_order = False, True

    def engine(function: Callable[[Part], Result], parts: Iterable[Part], /) -> Iterator[Result]:
        rows = [{"part": pickle.dumps(part)} for part in parts]
        if not rows:
            return

        def compute(row: dict[str, bytes]) -> dict[str, bytes]:
            os.chdir(here)
            return {"result": pickle.dumps(function(pickle.loads(row["part"])))}

        for row in ray.data.from_items(rows, override_num_blocks=len(rows)).map(compute).iter_rows():
            yield pickle.loads(row["result"])

    try:
        yield engine
    finally:
        ray.shutdown()


def _in_order(
    pool: Executor, function: Callable[[Part], Result], parts: Iterable[Part], ahead: int
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    for part in parts:
        waiting.append(pool.submit(function, part))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _prepare() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended, in whatever way.

    The collector of cycles is off: with a hundred thousand strings at once, it would take a third of the time.
    """
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()
