"""Measure how long training waits for a failing tracking server, and which metrics arrive.

`make bench-tracking` trains on the toy language beside a real `mlflow server`. The server is stopped (SIGSTOP) several
times, the last time for a minute, and killed twice (SIGKILL). The allowed loss of speed is 1 %, but a machine's speed
varies by more than that. So the benchmark measures the share of time in which the training thread neither runs nor is
ready to run, which the kernel reports.
"""

import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
from mlflow import MlflowClient

from pipeline.plumbing.tracking.journal import JOURNAL, read_journal
from pipeline.plumbing.tracking.record import TRAINING, read_record
from tests.mlflow_server import Server
from tests.project import Project, new_project

TURNS = 12
CHANGES = {
    "epochs: 3": "epochs: 1000\n  patience: 1000\n  max_minutes: 6",
    "embedding_size: 64": "embedding_size: 128",
    "hidden_size: 64": "hidden_size: 256",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        project = new_project(Path(scratch))
        for old, new in CHANGES.items():
            project.edit("experiments/smoke.yaml", old, new)
        server = Server(Path(scratch))
        server.start()
        try:
            shares = disturb(project, server)
            report(project, server, shares)
        finally:
            server.kill()


def disturb(project: Project, server: Server) -> list[float]:
    """Train while the server fails. Return the shares of waiting while it was healthy, stopped, healthy, and so on."""
    environment = project.environment(MLFLOW_TRACKING_URI=server.uri)
    training = subprocess.Popen(["make", "train"], cwd=project.root, env=environment)
    while not (project.build / TRAINING / "checkpoints").exists():
        time.sleep(0.5)
    (process,) = (p.pid for p in psutil.Process(training.pid).children() if "stages.train" in p.cmdline())
    time.sleep(10)  # until it has warmed up
    shares = []
    for number in [signal.SIGCONT, *[signal.SIGSTOP, signal.SIGCONT] * TURNS]:
        server.signal(number)
        shares.append(waiting(process, seconds=5))
    server.signal(signal.SIGSTOP)
    time.sleep(60)
    server.signal(signal.SIGCONT)
    for _ in range(2):
        time.sleep(5)
        server.kill()
        time.sleep(5)
        server.start()
    assert training.wait() == 2, "training was meant to last longer"
    return shares


def waiting(process: int, seconds: float) -> float:
    """Return the share of the next `seconds` in which a process's first thread waits, but not for a processor."""

    def busy() -> int:
        running, ready, _ = Path(f"/proc/{process}/task/{process}/schedstat").read_text().split()
        return int(running) + int(ready)

    before, start = busy(), time.monotonic_ns()
    time.sleep(seconds)
    return 1 - (busy() - before) / (time.monotonic_ns() - start)


def report(project: Project, server: Server, shares: list[float]) -> None:
    for state, those in {"healthy": shares[::2], "stopped": shares[1::2]}.items():
        print(f"{state}: training waits {statistics.median(those):.2%} of the time, {max(those):.2%} at most in 5 s")
    client = MlflowClient(server.uri)
    attempt = read_record(project.build / TRAINING).attempt
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], f"tags.attempt = '{attempt}'")
    stored = [(m.step, m.timestamp) for m in client.get_metric_history(run.info.run_id, "train/loss")]
    written = [(e.step, e.time) for e in read_journal(project.build / TRAINING / JOURNAL) if "train/loss" in e.metrics]
    assert sorted(stored) == sorted(written), "MLflow and the journal differ"
    print(f"{len(stored)} of {len(written)} reports arrived, each once, with its time; the run is {run.info.status}")


if __name__ == "__main__":
    main()
