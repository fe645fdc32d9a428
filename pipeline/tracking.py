"""Owns the MLflow run of a training: its making, what it says of settings and data, its metrics and its end.

Metrics go to the journal at once and from there to MLflow in a background thread: a server that hangs or dies never
stops or slows training. Does not own models and versions (see registry.py). Imports no torch.

    with open_run(build, experiment, scratch, training=digest, settings=params, corpus=corpus) as run:
        trainer.fit(..., log=run.log)  # run.log({"train/loss": 3.2, "train/tokens_per_second": 9e3}, step=100)
    facts["run_id"] = run.run_id  # and scratch / JOURNAL goes into the model's artifact

Only the main process opens a run. What survives an interruption lies in `scratch`: run.json and metrics.jsonl. Opened
again there with the same `training`, the run goes on, under the same id; there is nothing to rewind after a
checkpoint, because the journal skips what it has (see journal.py). Another `training` begins a new run and journal.
"""

import json
import logging
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus
from mlflow.entities import Run as StoredRun
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT

from .artifacts import Artifact, write_json
from .journal import JOURNAL, Journal, read_journal
from .store import experiment_id, impatient, open_store, without_password

SEND_SECONDS = 2.0
SAMPLE_SECONDS = 10.0  # between two samples of processor, memory, disk, network and GPU
PATIENCE_SECONDS = 15.0  # for a server that hangs when training ends
BATCH = 900  # metrics in a request; MLflow refuses more than 1000
LONGEST_PARAM = 6000  # characters, MLflow's limit

log = logging.getLogger(__name__)


class Run:
    """A training's run, open for metrics."""

    def __init__(self, client: MlflowClient, run_id: str, journal: Path) -> None:
        self.run_id = run_id
        self._client = client
        self._path = journal
        self._journal = Journal(journal)
        self._sent = 0  # byte position in the journal; a run that goes on sends it anew, which adds nothing
        self._complained = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="mlflow-feeder", daemon=True)
        self._thread.start()

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics at a step; takes microseconds, whatever MLflow does."""
        self._journal.log(metrics, step)

    def close(self, status: str) -> None:
        """Send what is left and end the run; the register stage makes up for what a dead server misses here."""
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        self._journal.close()
        if self._thread.is_alive() or not self._send(status):
            log.warning("MLflow does not answer: the end of %s is missing there; make register sends it", self._path)

    def _feed(self) -> None:
        monitor: Any = SystemMetricsMonitor(self.run_id)  # type: ignore[no-untyped-call]
        sampled = time.monotonic()
        while not self._stop.wait(SEND_SECONDS):
            if time.monotonic() - sampled >= SAMPLE_SECONDS:
                sampled = time.monotonic()
                self._sample(monitor)
            self._send()

    def _sample(self, monitor: Any) -> None:
        monitor.collect_metrics()
        metrics = {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
        for part in monitor.monitors:
            part.clear_metrics()
        self._journal.log(metrics, max(map(self._journal.next_step, metrics), default=0))

    def _send(self, status: str | None = None) -> bool:
        """Send what is new in the journal, then the run's end. A failure is said once; the next call tries again."""
        try:
            for end in send_journal(self._client, self.run_id, self._path, self._sent):
                self._sent = end
            if status:
                self._client.set_terminated(self.run_id, status)
        except Exception as error:  # of any kind: no trouble of a server's is worth a training
            if not self._complained:
                reason = without_password(str(error))
                log.warning("MLflow does not answer, training goes on and keeps metrics in %s: %s", self._path, reason)
            self._complained = True
            return False
        return True


@contextmanager
def open_run(
    build: Path, experiment: str, scratch: Path, training: str, settings: Mapping[str, Any], corpus: Artifact
) -> Iterator[Run]:
    """Make the run of a training, or go on with the one that an interrupted training left in `scratch`.

    `training` is a digest of all that the training depends on. The run ends FINISHED, FAILED or (by Ctrl-C) KILLED;
    a process that is killed leaves it RUNNING until it is opened again. UserError if MLflow cannot be reached.
    """
    client = open_store(build)
    scratch.mkdir(parents=True, exist_ok=True)
    with impatient():
        experiment_key = experiment_id(client, experiment, build)
        attempt = _attempt(client, experiment_key, scratch, training)
        found = _find(client, experiment_key, attempt)
        run_id = found.info.run_id if found else _make(client, experiment_key, attempt, training)
        # Said again when a run goes on: an interruption may have come before all of it was said. None is stored twice.
        _describe(client, run_id, settings, corpus)
        client.update_run(run_id, status="RUNNING")
        run = Run(client, run_id, scratch / JOURNAL)
        status = RunStatus.FAILED
        try:
            yield run
            status = RunStatus.FINISHED
        except KeyboardInterrupt:
            status = RunStatus.KILLED
            raise
        finally:
            run.close(RunStatus.to_string(status))


def send_journal(client: MlflowClient, run_id: str, journal: Path, start: int = 0) -> Iterator[int]:
    """Send the journal from byte position `start` on; yield the position after each request that succeeded.

    Metrics carry the time of their measurement: MLflow stores the same one once, however often it is sent.
    """
    batch: list[Metric] = []
    end = start
    for entry in read_journal(journal, start):
        if len(batch) + len(entry.metrics) > BATCH:
            client.log_batch(run_id, metrics=batch)
            yield end
            batch = []
        batch += [Metric(name, value, entry.time, entry.step) for name, value in entry.metrics.items()]
        end = entry.end
    if batch:
        client.log_batch(run_id, metrics=batch)
        yield end


def _attempt(client: MlflowClient, experiment_key: str, scratch: Path, training: str) -> str:
    """A name for this attempt at the training, chosen before its run exists: so that no kill can lead to two runs."""
    path = scratch / "run.json"
    if path.exists():
        known = json.loads(path.read_bytes())
        if known["training"] == training:
            return str(known["attempt"])
        abandoned = _find(client, experiment_key, known["attempt"])
        if abandoned and abandoned.info.status == "RUNNING":
            client.set_terminated(abandoned.info.run_id, "KILLED")
    (scratch / JOURNAL).unlink(missing_ok=True)
    attempt = uuid.uuid4().hex
    write_json(path, {"training": training, "attempt": attempt})
    return attempt


def _find(client: MlflowClient, experiment_key: str, attempt: str) -> StoredRun | None:
    runs = client.search_runs([experiment_key], filter_string=f"tags.attempt = '{attempt}'", max_results=1)
    return runs[0] if runs else None


def _make(client: MlflowClient, experiment_key: str, attempt: str, training: str) -> str:
    tags = {"attempt": attempt, "training": training}
    if commit := git_commit():
        tags[MLFLOW_GIT_COMMIT] = commit
    return str(client.create_run(experiment_key, tags=tags).info.run_id)


def git_commit() -> str | None:
    """The commit of this project's working tree, `-dirty` with changes; None where it is no git repository."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(command, check=False, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return run.stdout.strip() or None


def _describe(client: MlflowClient, run_id: str, settings: Mapping[str, Any], corpus: Artifact) -> None:
    params = [Param(name, value[:LONGEST_PARAM]) for name, value in flatten(settings).items()]
    for start in range(0, len(params), 100):  # MLflow takes 100 at once
        client.log_batch(run_id, params=params[start : start + 100])
    client.log_inputs(run_id, datasets=[_dataset(corpus, name) for name in corpus.facts["splits"]])


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `train.learning_rate`: text; lists as JSON."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat


def _dataset(corpus: Artifact, split: str) -> DatasetInput:
    """A split of the corpus as MLflow records data: by the digest of its file and where its text comes from."""
    facts = corpus.facts
    languages = f"{facts['source_language']}-{facts['target_language']}"
    dataset = Dataset(
        name=f"{languages} {split}",
        digest=corpus.files[f"{split}.parquet"]["sha256"][:36],  # the longest that MLflow takes
        source_type="code",
        source=json.dumps({"tags": {"sources": facts["sources"]}}, ensure_ascii=False),
        profile=json.dumps({"pairs": facts["splits"][split]}),
    )
    context = {"train": "training", "validation": "validation"}.get(split, "test")
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
