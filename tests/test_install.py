"""Installing: once, however many makes want it, on a Python that has nothing but itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.project import ROOT

# The bare Python that this environment was made of: what pip installed cannot be imported in it.
BARE = [sys._base_executable, "-m", "stages.install"]  # type: ignore[attr-defined]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A project that requires nothing."""
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    return tmp_path


def run(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(BARE, cwd=directory, capture_output=True, text=True)


def test_of_two_at_once_one_installs_and_the_other_waits(directory: Path) -> None:
    both = [subprocess.Popen(BARE, cwd=directory, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = "".join(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0], told
    assert told.count("installing requirements.lock") == 1
    assert subprocess.run([directory / ".venv/bin/python", "-m", "pip", "--version"], check=False).returncode == 0


@pytest.mark.slow
def test_what_was_killed_is_made_anew_and_what_is_whole_is_left(directory: Path) -> None:
    process = subprocess.Popen(BARE, cwd=directory)
    while not (directory / ".venv/bin").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (directory / ".venv/.installed").exists()
    assert run(directory).returncode == 0
    made = (directory / ".venv/.installed").stat().st_mtime_ns
    assert run(directory).stderr == ""
    assert (directory / ".venv/.installed").stat().st_mtime_ns == made
    os.utime(directory / "requirements.lock", ns=(made + 10**9, made + 10**9))
    assert "installing requirements.lock" in run(directory).stderr


def test_a_link_is_not_emptied(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "kept").touch()
    (directory / ".venv").symlink_to(elsewhere)
    done = run(directory)
    assert (done.returncode, done.stderr.count("error: .venv is a link")) == (2, 1)
    assert (elsewhere / "kept").exists()


def test_what_pip_cannot_install_is_told_and_not_taken_for_installed(directory: Path) -> None:
    (directory / "requirements.lock").write_text("./not-there\n", encoding="utf-8")
    done = run(directory)
    assert done.returncode == 2
    assert "error: pip could not install requirements.lock" in done.stderr
    assert not (directory / ".venv/.installed").exists()
