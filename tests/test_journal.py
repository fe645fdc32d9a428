"""The journal of a training, and its state after a kill, a power cut or on a full disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.plumbing.tracking.journal import JOURNAL, Journal, read_journal

FULL_DISK = """
import resource, sys
from pathlib import Path
from pipeline.plumbing.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.log({"train/loss": 1.0}, 1)
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))  # room for half a line
try:
    journal.log({"train/loss": 2.0}, 2)
except OSError as error:
    print(error)
print(Path(sys.argv[1]).stat().st_size - size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.log({"train/loss": 3.0}, 2)
journal.close()
"""


def test_a_journal_skips_metrics_that_it_has(tmp_path: Path) -> None:
    for steps in (range(5), range(3, 7)):
        journal = Journal(tmp_path / JOURNAL)
        for step in steps:
            journal.log({"train/loss": 10.0 * steps.start + step}, step)
        journal.log({"dev/loss": 1.0}, steps.stop - 1)  # another metric at a step that train/loss has
        journal.close()
    entries = list(read_journal(tmp_path / JOURNAL))
    assert [(e.step, e.metrics["train/loss"]) for e in entries if "train/loss" in e.metrics] == [
        *((step, float(step)) for step in range(5)),
        *((step, 30.0 + step) for step in (5, 6)),
    ]
    assert [e.step for e in entries if "dev/loss" in e.metrics] == [4, 6]


@pytest.mark.parametrize(
    "rest", [b'{"time": 1, "st', b"\0" * 300, b'\0\0\n{"time": 1, "step": 5, "metrics": {}}\n', b"7\n"]
)
def test_an_incomplete_line_after_a_kill_or_a_power_cut_is_removed(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / JOURNAL
    whole = json.dumps({"time": 1, "step": 1, "metrics": {"train/loss": 1.0}}).encode() + b"\n"
    path.write_bytes(whole + rest)
    assert [entry.step for entry in read_journal(path)] == [1]
    journal = Journal(path)
    journal.log({"train/loss": 2.0}, 2)
    journal.close()
    assert path.read_bytes().startswith(whole)
    assert [(entry.step, entry.metrics["train/loss"]) for entry in read_journal(path)] == [(1, 1.0), (2, 2.0)]


def test_a_full_disk_is_an_error_and_leaves_no_half_line(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / JOURNAL], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    message, grown = run.stdout.splitlines()
    assert message == f"[Errno 27] File too large: '{tmp_path / JOURNAL}'"
    assert grown == "0"
    # The metrics of the failed step may be written again when there is space.
    assert [entry.metrics["train/loss"] for entry in read_journal(tmp_path / JOURNAL)] == [1.0, 3.0]
