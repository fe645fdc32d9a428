"""Lock an experiment: one stage at a time works on it, and the others can tell which process that is."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from .artifacts import read_json, write_json
from .errors import UserError

PATIENCE = 10.0  # seconds: a process that was killed a moment ago may still be on its way out


@dataclass(frozen=True)
class Holder:
    """The process that works on an experiment."""

    purpose: str = "another process"  # the stage
    process: int = 0
    machine: str = ""
    since: str = ""

    def __str__(self) -> str:
        told = f", process {self.process} on {self.machine}, since {self.since}" if self.machine else ""
        return self.purpose + told


@contextmanager
def hold(experiment: Path, purpose: str) -> Iterator[None]:
    """Hold the lock of `build/<experiment>` in this block; UserError, naming its holder, if another process does.

    The kernel frees the lock of a process that dies, however it dies.
    """
    experiment.mkdir(parents=True, exist_ok=True)
    lock = FileLock(experiment / "lock")
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise UserError(
            f"{experiment} is in use by {_described(experiment)}; wait until it has ended, or end it"
        ) from None
    try:
        told = Holder(purpose, os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S"))
        write_json(experiment / "lock.json", asdict(told))
        yield
    finally:
        lock.release()


def holder(experiment: Path) -> Holder | None:
    """The process that works on the experiment; None if there is none."""
    lock = FileLock(experiment / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _described(experiment)
    lock.release()
    return None


def _described(experiment: Path) -> Holder:
    told = read_json(experiment / "lock.json")
    try:
        return Holder(**told)
    except TypeError:  # missing or damaged
        return Holder()
