"""Owns the lock of an experiment: one stage at a time works on it, and the others can tell which process that is."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .artifacts import write_json
from .errors import UserError

PATIENCE = 10.0  # seconds: a process that was killed a moment ago may still be on its way out


@contextmanager
def hold(experiment: Path, purpose: str) -> Iterator[bool]:
    """Hold the lock of `build/<experiment>` in this block; UserError, naming its holder, if another process does.

    Yields whether another process had to be waited for. The kernel frees the lock of one that dies, however it dies.
    """
    experiment.mkdir(parents=True, exist_ok=True)
    lock = FileLock(experiment / "lock")
    is_taken = holder(experiment) is not None
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise UserError(
            f"{experiment} is in use by {_described(experiment)}; wait until it has ended, or end it"
        ) from None
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_json(
            experiment / "lock.json",
            {"purpose": purpose, "process": os.getpid(), "machine": socket.gethostname(), "since": since},
        )
        yield is_taken
    finally:
        lock.release()


def holder(experiment: Path) -> str | None:
    """The process that works on the experiment, described; None if there is none."""
    lock = FileLock(experiment / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _described(experiment)
    lock.release()
    return None


def _described(experiment: Path) -> str:
    try:
        told = json.loads((experiment / "lock.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return "another process"
    return f"{told['purpose']}, process {told['process']} on {told['machine']}, since {told['since']}"
