"""Owns the lock of an experiment: one stage at a time works on it, and the others can tell which process that is."""

from pathlib import Path

from filelock import FileLock, Timeout


def holder(experiment: Path) -> str | None:
    """The process that works on the experiment, described; None if there is none."""
    lock = FileLock(experiment / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return "another process"
    lock.release()
    return None
