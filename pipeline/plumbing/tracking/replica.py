"""Copy the record of a training to MLflow, as a run with its settings, data sets, metrics and status.

Repeating a step adds nothing: the run is found by its attempt, and MLflow stores the same setting, data set or metric
(key, time, step, value) only once. The package `registry` adds models and versions. This module does not import torch.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param, SourceType, ViewType
from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException
from mlflow.utils import mlflow_tags

from ..artifacts import experiment_option
from ..errors import UserError
from .journal import JOURNAL, read_journal
from .record import DatasetRecord, Record, read_record
from .store import experiment_id, restore_command, store_lock

BATCH = 900  # metrics for each request; MLflow refuses more than 1000
PARAMS = 100  # for each request, MLflow's limit
LONGEST_PARAM = 6000  # characters, MLflow's limit
LONGEST_DIGEST = 36  # characters, MLflow's limit
PAUSES = 0.5, 2.0  # seconds before refused metrics are sent again


class DeletedRun(UserError):
    """Somebody deleted the run in MLflow."""


def replicate(client: MlflowClient, build: Path, directory: Path) -> str:
    """Copy the record in `directory` to MLflow and return the id of its run."""
    return Replica(client, build, directory).update(read_record(directory))


class Replica:
    """The run of a record. It remembers which part of the journal it has sent."""

    def __init__(self, client: MlflowClient, build: Path, directory: Path) -> None:
        self.client, self._build, self._journal = client, build, directory / JOURNAL
        self._run_id = ""
        self._status = ""  # the last status that was sent
        self._sent = 0  # byte position in the journal

    def update(self, record: Record) -> str:
        """Send what MLflow does not have yet, and return the run's id. Raise DeletedRun or MLflow's errors."""
        is_new = record.status != self._status
        if is_new:
            self._run_id = self._find_or_make(record)
            self._describe(record)
        for end in send_journal(self.client, self._run_id, self._journal, self._sent):
            self._sent = end
        if is_new:
            self._send_status(record)
        return self._run_id

    def _find_or_make(self, record: Record) -> str:
        description = f"make{experiment_option(record.experiment)}: a run for each training"
        experiment = experiment_id(self.client, record.experiment, self._build, description)
        filter_string = f"tags.attempt = '{record.attempt}'"
        with store_lock(self._build):
            runs = self.client.search_runs([experiment], filter_string, ViewType.ALL)
            if not runs:
                made = self.client.create_run(experiment, record.started, _tags(record), _run_name(record))
                return str(made.info.run_id)
            active = [run for run in runs if run.info.lifecycle_stage == LifecycleStage.ACTIVE]
            if not active:
                run_id = runs[0].info.run_id
                remedy = restore_command(self.client.tracking_uri, self._build, "runs", run_id)
                raise DeletedRun(f"MLflow's run {run_id} was deleted; restore it with: {remedy}")
            return self._only(active)

    def _only(self, runs: list[StoredRun]) -> str:
        """Keep one of several runs of the same record, and delete the others.

        A slow server may make a second run, because the client stops waiting for the first answer and sends its request
        again. The run that was used has settings; the other has none.
        """
        chosen, *duplicates = sorted(
            runs, key=lambda r: (r.info.run_id != self._run_id, -len(r.data.params), r.info.run_id)
        )
        for run in duplicates:
            self.client.delete_run(run.info.run_id)
        return str(chosen.info.run_id)

    def _describe(self, record: Record) -> None:
        params = [Param(name, value[:LONGEST_PARAM]) for name, value in record.settings.items()]
        for start in range(0, len(params), PARAMS):
            self.client.log_batch(self._run_id, params=params[start : start + PARAMS])
        self.client.log_inputs(self._run_id, datasets=[_dataset_input(dataset) for dataset in record.datasets])

    def _send_status(self, record: Record) -> None:
        if record.ended is None:
            self.client.update_run(self._run_id, status=record.status)
        else:
            self.client.set_terminated(self._run_id, record.status, record.ended)
        self._status = record.status


def send_journal(client: MlflowClient, run_id: str, journal: Path, start: int = 0) -> Iterator[int]:
    """Send the journal from byte position `start` on, and yield the position after each successful request."""
    batch: list[Metric] = []
    end = start
    for entry in read_journal(journal, start):
        if len(batch) + len(entry.metrics) > BATCH:
            _send_metrics(client, run_id, batch)
            yield end
            batch = []
        batch += [Metric(name, value, entry.time, entry.step) for name, value in entry.metrics.items()]
        end = entry.end
    if batch:
        _send_metrics(client, run_id, batch)
        yield end


def _send_metrics(client: MlflowClient, run_id: str, batch: list[Metric]) -> None:
    """Send metrics; try again if MLflow refuses them, because it may still be storing them from a slow request."""
    for pause in PAUSES:
        try:
            client.log_batch(run_id, metrics=batch)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            time.sleep(pause)
        else:
            return
    client.log_batch(run_id, metrics=batch)


def _dataset_input(record: DatasetRecord) -> DatasetInput:
    digest = record.digest[:LONGEST_DIGEST]
    dataset = Dataset(record.name, digest, record.source_type, record.source, profile=record.profile)
    return DatasetInput(dataset, [InputTag(mlflow_tags.MLFLOW_DATASET_CONTEXT, record.context)])


def _run_name(record: Record) -> str:
    """Return `default en-de 2026-01-31 14:05`, in UTC."""
    started = datetime.fromtimestamp(record.started / 1000, UTC)
    return " ".join([record.experiment, *_languages(record, "-"), f"{started:%Y-%m-%d %H:%M}"])


def _languages(record: Record, between: str) -> list[str]:
    names = (record.settings.get(f"download.{side}_language") for side in ("source", "target"))
    joined = between.join(filter(None, names))
    return [joined] if joined else []


def _tags(record: Record) -> dict[str, str]:
    """Return the tags of a run: `attempt`, which identifies it, and MLflow's own tags, which its pages show."""
    command = f"make train{experiment_option(record.experiment)}"
    about = {
        mlflow_tags.MLFLOW_USER: record.user,
        mlflow_tags.MLFLOW_SOURCE_NAME: command,
        mlflow_tags.MLFLOW_SOURCE_TYPE: SourceType.to_string(SourceType.LOCAL),
        mlflow_tags.MLFLOW_GIT_COMMIT: record.commit,
        mlflow_tags.MLFLOW_RUN_NOTE: _description(record, command),
    }
    return {"attempt": record.attempt} | {key: value for key, value in about.items() if value}


def _description(record: Record, command: str) -> str:
    """Describe a training for the page of its run, with the places of its curves, texts and pictures."""
    option = experiment_option(record.experiment)
    translating = "".join(f" from {languages}" for languages in _languages(record, " to "))
    return f"""\
Training of a translator{translating}: experiment {record.experiment}, by `{command}`.

- Curves: tab *Model metrics*. `dev/` is measured on the validation split, `test/` on the test sets.
- Translations of the test sets, and pictures of the attention: tab *Artifacts*, folder `evaluation`, after \
`make register{option}`.
- The trained model and its versions: *Registered models* above.
"""
