"""Owns what training tells of itself while it runs: its record on disk, and from there, in a thread, MLflow.

No trouble of MLflow's, neither at the start nor later, stops or slows training: the record is whole without it, and
what could not be sent is sent later, by this thread, the register stage or `make sync`. Imports no torch.

    with open_run(build, experiment, scratch, training=digest, settings=params, corpus=corpus) as run:
        trainer.fit(..., log=run.log)  # run.log({"train/loss": 3.2, "train/tokens_per_second": 9e3}, step=100)
    facts["attempt"] = run.attempt  # and scratch / RECORD and scratch / JOURNAL go into the model's artifact

Only the main process opens a run. Opened again in the same `scratch` with the same `training`, the run goes on; there
is nothing to rewind after a checkpoint, because the journal skips what it has (see journal.py).
"""

import logging
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Artifact
from ..errors import Paused
from .journal import JOURNAL, Journal
from .record import Record, begin, now, unsent
from .replica import DeletedRun, Replica, replicate
from .sampler import Sampler
from .store import open_store, short_timeouts, without_password

SEND_SECONDS = 2.0
PATIENCE_SECONDS = 15.0  # for MLflow when training ends

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A training's run, open for metrics."""

    attempt: str
    _journal: Journal

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics at a step; takes microseconds, whatever MLflow does. OSError if the disk is full."""
        self._journal.log(metrics, step)


@contextmanager
def open_run(
    build: Path, experiment: str, scratch: Path, training: str, settings: Mapping[str, Any], corpus: Artifact
) -> Iterator[Run]:
    """Begin the record of a training, or go on with the one that an interrupted training left in `scratch`.

    `training` is a digest of all that the training depends on. The run ends FINISHED, FAILED or (paused, or by Ctrl-C)
    KILLED; a process that is killed leaves it RUNNING until it is opened again or `make sync` tells MLflow.
    """
    home = build / experiment
    record = begin(scratch, home, training, settings, corpus)
    journal = Journal(scratch / JOURNAL)
    with short_timeouts():
        feeder = Feeder(build, home, scratch, record, journal)
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
            except OSError:  # on a full disk; what ended training already is the error to be seen
                if status == "FINISHED":
                    raise
            finally:
                feeder.close(record)
                journal.close()


class Feeder:
    """The thread that samples the machine, and keeps MLflow's copy of the record up to date while it can."""

    def __init__(self, build: Path, home: Path, scratch: Path, record: Record, journal: Journal) -> None:
        self._build, self._home, self._scratch = build, home, scratch
        self._record = record
        self._sampler = Sampler(journal)
        self._replica: Replica | None = None
        self._is_away = False
        self._is_delivered = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="mlflow-feeder", daemon=True)
        self._thread.start()

    def close(self, record: Record) -> None:
        """Send what is left of the record, which has ended; a warning if MLflow does not take it in time."""
        self._record = record
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        if not self._is_delivered:
            log.warning("MLflow does not have all of this training yet; make sync sends the rest")

    def _feed(self) -> None:
        while not self._stop.is_set():
            self._sampler.sample()
            self._deliver()
            self._stop.wait(SEND_SECONDS)
        self._is_delivered = self._deliver()

    def _deliver(self) -> bool:
        """Send all that MLflow does not have yet. A failure is said once, its end too; the next call tries again."""
        try:
            self._send()
        except Exception as error:  # of any kind: no trouble of a server's is worth a training
            if not self._is_away:
                reason = without_password(str(error).strip().partition("\n")[0])
                log.warning(
                    "MLflow cannot be told, training goes on and keeps its record in %s: %s", self._scratch, reason
                )
            self._is_away = True
            return False
        if self._is_away:
            log.warning("MLflow can be told again and has all of the record so far")
        self._is_away = False
        return True

    def _send(self) -> None:
        if self._replica is None:
            self._replica = Replica(open_store(self._build), self._build, self._scratch)
        self._replica.update(self._record)
        for directory in unsent(self._home):
            with suppress(DeletedRun):
                replicate(self._replica.client, self._build, directory)
            shutil.rmtree(directory)
