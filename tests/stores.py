"""Read the metrics of a training from MLflow and from the journal, in one form."""

import os
from collections import defaultdict
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun

from pipeline.plumbing.tracking.journal import JOURNAL, read_journal

History = dict[str, list[tuple[int, float, int]]]  # metric -> (step, value, time) of each value


def store() -> MlflowClient:
    """Return a client of the store that the environment names now."""
    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


def stored(attempt: str, experiment: str = "default") -> StoredRun:
    """Return the only run of an attempt."""
    client = store()
    found = client.get_experiment_by_name(experiment)
    assert found
    (run,) = client.search_runs([found.experiment_id], f"tags.attempt = '{attempt}'")
    return client.get_run(run.info.run_id)


def history(run: StoredRun) -> History:
    """Return all values of all metrics of a run in MLflow."""
    client = store()
    return {
        metric: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, metric))
        for metric in run.data.metrics
    }


def journalled(directory: Path) -> History:
    """Return all values of all metrics in the journal of a directory."""
    found: History = defaultdict(list)
    for entry in read_journal(directory / JOURNAL):
        for metric, value in entry.metrics.items():
            found[metric].append((entry.step, value, entry.time))
    return dict(found)
