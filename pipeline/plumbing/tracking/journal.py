"""Write and read metrics.jsonl, the journal of a training. A line is {"time": unix ms, "step": n, "metrics": {...}}.

MLflow's metrics are a copy of the journal (see replica.py). This module does not use MLflow.
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
    """Metrics of one step."""

    time: int  # unix milliseconds, when the metrics were measured
    step: int
    metrics: dict[str, float]
    end: int  # byte position of the entry's end in the journal


def read_journal(path: Path, start: int = 0) -> Iterator[JournalEntry]:
    """Yield the entries from byte position `start` on, up to the first incomplete one.

    A killed process can leave half a line, and a power cut can leave zeros. Entries after that were measured after the
    last checkpoint, and are measured again.
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
    """The journal of a training, open for writing after the entries of an interrupted training.

    The steps of a metric only increase. A resumed training repeats the steps since its checkpoint. These are in the
    journal already, with the time at which they were first measured, and are not written again.
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
        """Append the metrics that have no value yet at this step, as one line that survives a kill of the process.

        Raise OSError if the disk is full; the journal is then unchanged.
        """
        with self._lock:
            new = {key: float(value) for key, value in metrics.items() if step > self._last_step.get(key, -1)}
            if not new:
                return
            line = json.dumps({"time": time.time_ns() // 1_000_000, "step": step, "metrics": new})
            self._append(line.encode() + b"\n")
            self._last_step.update(dict.fromkeys(new, step))

    def next_step(self, metric: str) -> int:
        """Return the first step at which `metric` has no value yet."""
        return self._last_step.get(metric, -1) + 1

    def close(self) -> None:
        self._file.close()

    def _append(self, line: bytes) -> None:
        """Append a line completely or not at all."""
        left = memoryview(line)
        try:
            while left:  # a full disk accepts a part of the line, and fails on the next write
                left = left[self._file.write(left) :]
        except OSError as error:
            self._file.truncate(self._end)
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._end += len(line)
