"""What MLflow and the journal have of a training, in the same shape."""

import os
from collections import defaultdict
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun

from pipeline.plumbing.tracking.journal import JOURNAL, read_journal

History = dict[str, list[tuple[int, float, int]]]  # metric -> (step, value, time) of each value


def store() -> MlflowClient:
    """A client of the store that the environment names now, whatever this process has used before."""
    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


def stored(attempt: str, experiment: str = "default") -> StoredRun:
    """The one run of an attempt."""
    client = store()
    found = client.get_experiment_by_name(experiment)
    assert found
    (run,) = client.search_runs([found.experiment_id], f"tags.attempt = '{attempt}'")
    return client.get_run(run.info.run_id)


def history(run: StoredRun) -> History:
    """All that MLflow has of a run's metrics."""
    client = store()
    return {
        metric: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, metric))
        for metric in run.data.metrics
    }


def journalled(directory: Path) -> History:
    """All that the journal in a directory has."""
    found: History = defaultdict(list)
    for entry in read_journal(directory / JOURNAL):
        for metric, value in entry.metrics.items():
            found[metric].append((entry.step, value, entry.time))
    return dict(found)
