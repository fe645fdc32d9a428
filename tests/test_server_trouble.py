"""A real MLflow server that is down, killed, stopped or slow does not delay training or lose a metric."""

import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.tracking.record import read_record
from pipeline.plumbing.tracking.replica import replicate
from pipeline.plumbing.tracking.run import open_run
from tests.mlflow_server import Server
from tests.stores import history, journalled, store, stored

pytestmark = pytest.mark.slow
LONGEST = 0.5  # seconds that a report may take: MLflow's own time-outs are 5


class Training:
    """A training that reports every 10 ms and measures its longest report."""

    def __init__(self, build: Path) -> None:
        self.build, self.scratch = build, build / "default/model.training"
        self.longest, self.step = 0.0, 0

    def go(self, trouble: Callable[[Callable[[float], None]], Any]) -> float:
        """Call `trouble` with a function that trains for some seconds. Return the seconds of the start."""
        start = time.monotonic()
        settings = {"seed": 1}
        with open_run(self.build, "default", self.scratch, "first", settings, []) as self._run:
            opened = time.monotonic() - start
            trouble(self._train)
        return opened

    def _train(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            self._run.log({"train/loss": 1.0 / (self.step + 1)}, self.step)
            self.longest, self.step = max(self.longest, time.monotonic() - start), self.step + 1
            time.sleep(0.01)

    def check(self) -> None:
        """Check that there is one finished run, with every metric as it was measured."""
        record = read_record(self.scratch)
        run = stored(record.attempt)
        assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", record.started, record.ended)
        assert run.data.params == {"seed": "1"}
        assert history(run) == journalled(self.scratch)
        assert [step for step, _, _ in history(run)["train/loss"]] == list(range(self.step))
        assert self.longest < LONGEST
        assert len(store().search_runs([run.info.experiment_id])) == 1


@pytest.fixture
def training(build: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr("pipeline.plumbing.tracking.run.SEND_SECONDS", 0.2)
    return Training(build)


def test_a_server_that_is_down_at_the_start(training: Training, server: Server) -> None:
    def trouble(train: Callable[[float], None]) -> None:
        train(3)
        server.start()
        train(3)

    assert training.go(trouble) < LONGEST
    training.check()


def test_a_server_that_does_not_answer_at_the_start(training: Training, server: Server) -> None:
    server.start()
    server.signal(signal.SIGSTOP)

    def trouble(train: Callable[[float], None]) -> None:
        train(8)
        server.signal(signal.SIGCONT)
        train(8)

    assert training.go(trouble) < LONGEST
    training.check()


def test_a_server_that_is_killed_and_stopped_during_training(training: Training, server: Server) -> None:
    server.start()

    def trouble(train: Callable[[float], None]) -> None:
        train(2)
        server.kill()
        train(3)
        server.start()
        train(1)
        server.signal(signal.SIGSTOP)
        train(3)
        server.signal(signal.SIGCONT)
        train(1)

    training.go(trouble)
    training.check()


def test_a_server_that_does_not_answer_at_the_end(
    training: Training, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.plumbing.tracking.run.LAST_SEND_SECONDS", 2.0)
    server.start()

    def trouble(train: Callable[[float], None]) -> None:
        train(2)
        server.signal(signal.SIGSTOP)
        train(1)

    start = time.monotonic()
    training.go(trouble)
    assert time.monotonic() - start < 6
    assert caplog.messages[-1].endswith("to send the rest, run: make sync")
    assert read_record(training.scratch).status == "FINISHED"
    server.signal(signal.SIGCONT)
    replicate(store(), training.build, training.scratch)
    training.check()


def test_a_server_that_makes_a_run_after_the_timeout(training: Training, server: Server) -> None:
    """The database is locked. The server answers requests that read. Requests that write time out, and run later."""
    server.start()
    store().create_experiment("default")
    lock = sqlite3.connect(server.directory / "mlflow.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")

    def trouble(train: Callable[[float], None]) -> None:
        train(12)
        lock.execute("COMMIT")
        train(5)

    training.go(trouble)
    everything = store().search_runs(["1"], run_view_type=3)
    assert len(everything) > 1, "no run was made twice: this test has lost its point"
    training.check()
