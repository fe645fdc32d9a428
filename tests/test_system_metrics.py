"""System metrics during training, and a full disk, which stops both them and training."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.plumbing.tracking.journal import JOURNAL
from pipeline.plumbing.tracking.run import open_run
from tests.stores import history, store, stored

FULL_DISK = """
import sys, tempfile, time
from pathlib import Path
from pipeline.plumbing.tracking import run as tracking, system_metrics
tracking.SEND_SECONDS = system_metrics.SAMPLE_SECONDS = 0.1
build, scratch = map(Path, sys.argv[1:])
with tracking.open_run(build, "default", scratch, "first", settings={}, datasets=[]) as run:
    run.log({f"train/{n}": 0.0 for n in range(150)}, 0)  # a page has room for a few samples more
    with open(scratch / "something else", "wb", buffering=0) as file:
        while file.write(bytes(1000)) == 1000:
            pass
    time.sleep(8)  # a sample fails, on a slow machine too
    for step in range(1, 100):
        run.log({f"train/{n}": 1.0 / step for n in range(150)}, step)
"""


def test_system_metrics_are_sampled(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.plumbing.tracking.run.SEND_SECONDS", 0.1)
    monkeypatch.setattr("pipeline.plumbing.tracking.system_metrics.SAMPLE_SECONDS", 0.2)
    scratch = build / "default/model.training"
    for _ in range(2):  # the second time it goes on
        with open_run(build, "default", scratch, training="first", settings={}, datasets=[]) as run:
            time.sleep(1.0)
    steps = [step for step, _, _ in history(stored(run.attempt))["system/system_memory_usage_megabytes"]]
    assert len(steps) >= 2
    assert steps == list(range(len(steps)))


@pytest.mark.slow
def test_a_full_disk_ends_training_with_its_path_and_a_failed_run(build: Path) -> None:
    """On a real small disk, for which the process gets a mount name space of its own."""
    scratch = build / "default/model.training"
    scratch.mkdir()
    mounted = f'mount -t tmpfs -o size=64k none "{scratch}"'
    own = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*own, mounted], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    arguments = [sys.executable, "-c", FULL_DISK, str(build), str(scratch)]
    run = subprocess.run(
        [*own, f'{mounted} && exec "$@"', "sh", *arguments], check=False, capture_output=True, text=True
    )
    assert "system metrics are no longer sampled: [Errno 28]" in run.stderr
    assert run.stderr.splitlines()[-1] == f"OSError: [Errno 28] No space left on device: '{scratch / JOURNAL}'"
    (found,) = store().search_runs(["1"])
    assert found.info.status == "FAILED"
    assert "train/149" in found.data.metrics
