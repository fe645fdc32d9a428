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
class Entry:
    """Some metrics at one step."""

    time: int  # unix milliseconds: when they were measured, kept when they are sent again
    step: int
    metrics: dict[str, float]
    end: int  # byte position in the journal after this entry


def read_journal(path: Path, start: int = 0) -> Iterator[Entry]:
    """Entries from byte position `start` on. A last line without its end, of a killed writer, is left out."""
    end = start
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield Entry(**json.loads(line), end=end)


class Journal:
    """The journal opened for writing; goes on with what an interrupted training left in it.

    A metric's steps only go up. What a resumed training repeats, because its checkpoint is older than the journal, is
    there already with the time at which it was first measured, and is not written again.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._last_step: dict[str, int] = {}
        end = 0
        if path.exists():
            for entry in read_journal(path):
                self._last_step.update(dict.fromkeys(entry.metrics, entry.step))
                end = entry.end
        self._file = open(path, "ab")  # noqa: SIM115 (close() closes it)
        self._file.truncate(end)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Append the metrics that are new at this step, as one line that a killed process cannot lose."""
        with self._lock:
            new = {key: float(value) for key, value in metrics.items() if step > self._last_step.get(key, -1)}
            if not new:
                return
            self._last_step.update(dict.fromkeys(new, step))
            line = json.dumps({"time": time.time_ns() // 1_000_000, "step": step, "metrics": new})
            self._file.write(line.encode() + b"\n")
            self._file.flush()

    def next_step(self, metric: str) -> int:
        """The first step at which `metric` has no value yet."""
        return self._last_step.get(metric, -1) + 1

    def close(self) -> None:
        self._file.close()
