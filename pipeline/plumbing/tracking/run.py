"""Record a training on disk while it runs, and copy the record to MLflow in a thread.

Failures of MLflow neither stop nor slow training. The record on disk is complete without MLflow. The thread, the
register stage or `make sync` sends it later. This module does not import torch.

    with open_run(build, experiment, scratch, training=digest, settings=params, datasets=splits) as run:
        trainer.fit(..., log=run.log)  # run.log({"train/loss": 3.2, "train/tokens_per_second": 9e3}, step=100)
    ...  # run.attempt, scratch / RECORD and scratch / JOURNAL go into the model's artifact

Only the main process opens a run. A run that is opened again with the same `scratch` and `training` continues. It need
not be set back to a checkpoint, because the journal skips metrics that it already has (see journal.py).
"""

import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Paused
from .journal import JOURNAL, Journal
from .record import DatasetRecord, Record, begin, now, unsent
from .replica import DeletedRun, Replica, replicate
from .store import open_store, short_timeouts, without_password
from .system_metrics import SystemMetrics

SEND_SECONDS = 2.0
LAST_SEND_SECONDS = 15.0  # how long the end of training waits for MLflow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The run of a training. It accepts metrics."""

    attempt: str
    _journal: Journal

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics of a step. It takes microseconds, whatever MLflow does. Raise OSError if the disk is full."""
        self._journal.log(metrics, step)


@contextmanager
def open_run(
    build: Path,
    experiment: str,
    scratch: Path,
    training: str,
    settings: Mapping[str, Any],
    datasets: list[DatasetRecord],
) -> Iterator[Run]:
    """Begin the record of a training, or continue the one that an interrupted training left in `scratch`.

    `training` is a digest of everything that the training depends on. The run ends with the status FINISHED, FAILED, or
    KILLED (by a pause or Ctrl-C). If the process is killed, the status stays RUNNING until the run is opened again or
    `make sync` ends it.
    """
    home = build / experiment
    record = begin(scratch, home, training, settings, datasets)
    journal = Journal(scratch / JOURNAL)
    with short_timeouts():
        sender = Sender(build, home, scratch, record, journal)
        status = "FAILED"
        try:
            yield Run(record.attempt, journal)
            status = "FINISHED"
        except (KeyboardInterrupt, Paused):
            status = "KILLED"
            raise
        finally:
            record = record.end(status, now())
            try:
                record.write(scratch)
            except OSError:  # the disk is full; an earlier error is more important
                if status == "FINISHED":
                    raise
            finally:
                sender.close(record)
                journal.close()


class Sender:
    """The thread that samples system metrics and sends the record to MLflow."""

    def __init__(self, build: Path, home: Path, scratch: Path, record: Record, journal: Journal) -> None:
        self._build, self._home, self._scratch = build, home, scratch
        self._record = record
        self._system_metrics = SystemMetrics(journal)
        self._replica: Replica | None = None
        self._is_unreachable = False
        self._is_delivered = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-sender", daemon=True)
        self._thread.start()

    def close(self, record: Record) -> None:
        """Send the rest of the finished `record`. Log a warning if MLflow does not accept it in time."""
        self._record = record
        self._stop.set()
        self._thread.join(LAST_SEND_SECONDS)
        if not self._is_delivered:
            log.warning("MLflow does not have all of this training yet; to send the rest, run: make sync")

    def _work(self) -> None:
        while not self._stop.is_set():
            self._system_metrics.sample()
            self._deliver()
            self._stop.wait(SEND_SECONDS)
        self._is_delivered = self._deliver()

    def _deliver(self) -> bool:
        """Send what MLflow does not have yet. If that fails, the next call tries again.

        Log the first failure, and the first success after it. Return whether everything was sent.
        """
        try:
            self._send()
        except Exception as error:  # of any kind: no failure of a server may stop training
            if not self._is_unreachable:
                reason = without_password(str(error).strip().partition("\n")[0])
                log.warning(
                    "MLflow cannot be reached; training continues and keeps its record in %s: %s", self._scratch, reason
                )
            self._is_unreachable = True
            return False
        if self._is_unreachable:
            log.warning("MLflow can be reached again and has all of the record so far")
        self._is_unreachable = False
        return True

    def _send(self) -> None:
        if self._replica is None:
            self._replica = Replica(open_store(self._build), self._build, self._scratch)
        self._replica.update(self._record)
        for directory in unsent(self._home):
            with suppress(DeletedRun):
                replicate(self._replica.client, self._build, directory)
            shutil.rmtree(directory)
