"""Owns metrics.jsonl, the journal of a training: {"time": unix ms, "step": n, "metrics": {...}}, one a line.

The journal is the record of a training; what MLflow shows is a copy that is made from it. Knows nothing of MLflow.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

JOURNAL = "metrics.jsonl"


@dataclass(frozen=True)
class JournalEntry:
    """Some metrics at one step."""

    time: int  # unix milliseconds: when they were measured, kept when they are sent again
    step: int
    metrics: dict[str, float]
    end: int  # byte position in the journal after this entry


def read_journal(path: Path, start: int = 0) -> Iterator[JournalEntry]:
    """Entries from byte position `start` on, up to the first that is not whole.

    A killed writer leaves half a line, a power cut zeros; what is after them was measured after the last checkpoint.
    """
    end = start
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            end += len(line)
            try:
                entry = JournalEntry(**json.loads(line), end=end)
            except (ValueError, TypeError):
                return
            if not line.endswith(b"\n"):
                return
            yield entry


class Journal:
    """The journal opened for writing; goes on with what an interrupted training left in it.

    A metric's steps only go up. What a resumed training repeats, because its checkpoint is older than the journal, is
    there already with the time at which it was first measured, and is not written again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._last_step: dict[str, int] = {}
        self._end = 0
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (close() closes it)
        for entry in read_journal(path):
            self._last_step.update(dict.fromkeys(entry.metrics, entry.step))
            self._end = entry.end
        self._file.truncate(self._end)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Append the metrics that are new at this step, as one line that a killed process cannot lose.

        OSError if the disk is full: the journal is then as it was before.
        """
        with self._lock:
            new = {key: float(value) for key, value in metrics.items() if step > self._last_step.get(key, -1)}
            if not new:
                return
            line = json.dumps({"time": time.time_ns() // 1_000_000, "step": step, "metrics": new})
            self._append(line.encode() + b"\n")
            self._last_step.update(dict.fromkeys(new, step))

    def next_step(self, metric: str) -> int:
        """The first step at which `metric` has no value yet."""
        return self._last_step.get(metric, -1) + 1

    def close(self) -> None:
        self._file.close()

    def _append(self, line: bytes) -> None:
        """Write a line whole or not at all."""
        left = memoryview(line)
        try:
            while left:  # a disk takes what there is room for, and fails at the next byte
                left = left[self._file.write(left) :]
        except OSError as error:
            self._file.truncate(self._end)
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._end += len(line)
