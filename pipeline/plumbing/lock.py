"""Lock an experiment, so that one stage at a time works on it, and record which process holds the lock."""

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

LOCK_SECONDS = 10.0  # how long to wait for a lock: a killed process may need a moment to end


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock of an experiment."""

    purpose: str = "another process"  # the stage
    process: int = 0
    machine: str = ""
    since: str = ""

    def __str__(self) -> str:
        where = f", process {self.process} on {self.machine}, since {self.since}" if self.machine else ""
        return self.purpose + where


@contextmanager
def hold(experiment: Path, purpose: str) -> Iterator[None]:
    """Hold the lock of `build/<experiment>` in this block. Raise UserError, naming its holder, if it is taken.

    The kernel releases the lock when the process dies.
    """
    experiment.mkdir(parents=True, exist_ok=True)
    lock = FileLock(experiment / "lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise UserError(f"{experiment} is in use by {_described(experiment)}; wait until it ends, or stop it") from None
    try:
        ours = Holder(purpose, os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S"))
        write_json(experiment / "lock.json", asdict(ours))
        yield
    finally:
        lock.release()


def holder(experiment: Path) -> Holder | None:
    """Return the process that holds the lock of an experiment; None if no process does."""
    lock = FileLock(experiment / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _described(experiment)
    lock.release()
    return None


def _described(experiment: Path) -> Holder:
    recorded = read_json(experiment / "lock.json")
    try:
        return Holder(**recorded)
    except TypeError:  # missing or damaged
        return Holder()
