"""What a tracking server in trouble costs a training: speed beside that with a healthy one, and what of it arrives.

make bench-tracking: one real training on the toy language, beside a real `mlflow server` that is stopped (SIGSTOP), at
last for a minute, and killed twice (SIGKILL). Speeds are compared within that training, window by window in turns.
"""

import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from pipeline.tracking.journal import JOURNAL, Entry, read_journal
from pipeline.tracking.record import TRAINING, read_record
from tests.mlflow_server import Server
from tests.project import Project, new_project

SPEED = "train/tokens_per_second"
CHANGES = {
    "epochs: 3": "epochs: 1000\n  patience: 1000\n  max_minutes: 5.5",
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
            windows = disturb(project, server)
            report(project, server, windows)
        finally:
            server.kill()


def disturb(project: Project, server: Server) -> list[tuple[str, float, float]]:
    """Train, and trouble the server; returns windows of (server's state, from, to) in Unix seconds."""
    environment = project.environment(MLFLOW_TRACKING_URI=server.uri)
    del environment["OMP_NUM_THREADS"]
    training = subprocess.Popen(["make", "train"], cwd=project.root, env=environment)
    while not (project.build / TRAINING / "checkpoints").exists():
        time.sleep(0.5)
    windows = []

    def window(state: str, seconds: float, begin: Callable[[], object] = lambda: None) -> None:
        begin()
        start = time.time()
        time.sleep(seconds)
        windows.append((state, start, time.time()))

    time.sleep(30)  # until the machine has warmed up
    for _ in range(8):  # in turns, because the machine's speed drifts
        window("healthy", 8)
        window("stopped", 8, lambda: server.signal(signal.SIGSTOP))
        server.signal(signal.SIGCONT)
    server.signal(signal.SIGSTOP)
    time.sleep(60)
    server.signal(signal.SIGCONT)
    for _ in range(2):
        window("healthy", 10)
        window("killed", 10, server.kill)
        server.start()
    assert training.wait() == 2, "training was meant to last longer"
    return windows


def report(project: Project, server: Server, windows: list[tuple[str, float, float]]) -> None:
    entries = [e for e in read_journal(project.build / TRAINING / JOURNAL) if SPEED in e.metrics]
    median = {}
    for state in ("healthy", "stopped", "killed"):
        speeds = [e.metrics[SPEED] for e in entries if any(w[0] == state and is_in(e, w) for w in windows)]
        median[state] = statistics.median(speeds)
        print(f"{state:8} {median[state]:8,.0f} target tokens/s, median of {len(speeds)} reports")
    print(f"stopped beside healthy: {median['stopped'] / median['healthy'] - 1:+.1%}")
    client = MlflowClient(server.uri)
    attempt = read_record(project.build / TRAINING).attempt
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], f"tags.attempt = '{attempt}'")
    stored = [(m.step, m.timestamp) for m in client.get_metric_history(run.info.run_id, "train/loss")]
    written = [(e.step, e.time) for e in read_journal(project.build / TRAINING / JOURNAL) if "train/loss" in e.metrics]
    assert sorted(stored) == sorted(written), "MLflow and the journal differ"
    print(f"{len(stored)} of {len(written)} reports arrived, each once, with its time; the run is {run.info.status}")


def is_in(entry: Entry, window: tuple[str, float, float]) -> bool:
    return window[1] + 1 < entry.time / 1000 < window[2]


if __name__ == "__main__":
    main()
