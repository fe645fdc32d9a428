"""Engines: the results have the order of the parts, whatever number of processes computes them, and whatever dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.data.engine import AHEAD, open_engine
from pipeline.plumbing.errors import UserError
from tests.downloading import ROOT


def slow_first(part: int) -> tuple[int, int]:
    time.sleep(0.3 if part == 0 else 0)
    return part, os.getpid()


def refuse(part: int) -> int:
    if part == 3:
        raise UserError("part 3 is bad")
    return part


def die(part: int) -> int:
    if part == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return part


@pytest.fixture(params=["1", "2", "3"])
def number(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("NUM_PROC", request.param)
    return int(request.param)


def test_results_have_the_order_of_the_parts(number: int) -> None:
    with open_engine() as engine:
        found = list(engine(slow_first, range(20)))
        again = list(engine(slow_first, range(5)))
    assert [part for part, _ in found] == list(range(20))
    assert [part for part, _ in again] == list(range(5))
    processes = {process for _, process in found}
    assert (os.getpid() in processes) == (number == 1)
    assert len(processes) <= number


def test_parts_are_taken_only_when_they_are_needed(number: int) -> None:
    taken: list[int] = []

    def parts() -> Iterator[int]:
        for part in range(1000):
            taken.append(part)
            yield part

    with open_engine() as engine:
        results = engine(slow_first, parts())
        next(results)
        assert len(taken) <= AHEAD * number + 2


def test_an_error_of_a_part_is_that_of_the_caller(number: int) -> None:
    with open_engine() as engine, pytest.raises(UserError, match="^part 3 is bad$"):
        list(engine(refuse, range(100)))


def test_a_killed_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM_PROC", "2")
    with pytest.raises(UserError, match="^a process was killed, .*NUM_PROC=1$"), open_engine() as engine:
        list(engine(die, range(100)))


@pytest.mark.parametrize(
    ("name", "value"), [("NUM_PROC", "0"), ("NUM_PROC", "-1"), ("NUM_PROC", "two"), ("ENGINE", "spark")]
)
def test_an_unknown_engine_or_number_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^{name}: got '{value}', expected "), open_engine():
        pass


WAITING = """
from pipeline.data.engine import open_engine
from tests.test_engine import slow_first, wait_long
if __name__ == "__main__":
    with open_engine() as engine:
        for result in engine(wait_long, range(4)):
            print(result, flush=True)
"""


def wait_long(part: int) -> int:
    if part:
        time.sleep(60)
    return part


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_is_left_when_the_stage_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "waiting.py").write_text(WAITING, encoding="utf-8")
    environment = os.environ | {"NUM_PROC": "2", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "waiting.py")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as stage:  # fmt: skip
        assert stage.stdout
        assert stage.stdout.readline() == "0\n"
        workers = psutil.Process(stage.pid).children(recursive=True)
        assert len(workers) >= 2
        if how == signal.SIGINT:  # from a terminal, all processes receive it
            os.killpg(stage.pid, how)
        else:
            stage.send_signal(how)
        _, errors = stage.communicate(timeout=20)
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert errors.count("Traceback") == (how == signal.SIGINT)  # that of the program above, which is no stage
