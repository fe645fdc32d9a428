"""One stage at a time works on an experiment, and a second one says who it waits for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.lock import hold, holder

HOLDING = """
import sys, time
from pathlib import Path
from pipeline.plumbing.lock import hold
with hold(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_the_error_names_the_holder_of_the_lock(
    tmp_path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.plumbing.lock.LOCK_SECONDS", 0.2)
    with pytest.raises(UserError, match=rf"is in use by train, process {other.pid} on .*, since"), hold(tmp_path, "x"):
        raise AssertionError("two hold the lock")
    assert str(other.pid) in str(holder(tmp_path))
    other.kill()
    other.wait()


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    os.kill(other.pid, signal.SIGKILL)
    with hold(tmp_path, "encode"):
        assert str(os.getpid()) in (tmp_path / "lock.json").read_text(encoding="utf-8")
    other.wait()
    assert holder(tmp_path) is None


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold(tmp_path, "train"):
        raise KeyError
    with hold(tmp_path, "train"):
        pass


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"purpose"', '{"who": 1}'])
def test_a_damaged_lock_file_causes_no_traceback(tmp_path: Path, other: subprocess.Popen[str], damage: str) -> None:
    (tmp_path / "lock.json").write_text(damage, encoding="utf-8")
    assert str(holder(tmp_path)) == "another process"
    other.kill()
    other.wait()
