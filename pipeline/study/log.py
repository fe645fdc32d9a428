"""Log a study to MLflow: a run of its own with the page and the tables, and a nested run for each member."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils import mlflow_tags

from ..plumbing.tracking.record import git_commit, now, read_record, user_name
from ..plumbing.tracking.store import experiment_id, open_store, short_timeouts
from .members import Family, study_command
from .results import Results, Row

STUDY = "study"  # the tag of a study's run and of the nested ones


def log_study(build: Path, family: Family, results: Results, directory: Path) -> None:
    """Log the results and the files in `directory`. Raise UserError or MlflowException if that fails."""
    with short_timeouts():
        client, command = open_store(build), study_command(results.data)
        experiment = experiment_id(client, results.data, build)
        tags = {
            STUDY: results.data,
            mlflow_tags.MLFLOW_USER: user_name(),
            mlflow_tags.MLFLOW_SOURCE_NAME: command,
            mlflow_tags.MLFLOW_GIT_COMMIT: git_commit() or "unknown",
        }
        with _run(client, experiment, f"study of {results.data}", tags) as parent:
            for row, member in zip(results.rows, family.members, strict=True):
                attempt = read_record(member.evaluated.artifacts["model"].directory).attempt
                nested = tags | {mlflow_tags.MLFLOW_PARENT_RUN_ID: parent, "training": attempt}
                with _run(client, experiment, row.member, nested) as run:
                    _log_row(client, run, row)
            best = max(results.rows, key=lambda row: row.bleu)
            numbers = {f"bleu_{kind}": _bleu(results, getattr(results, kind)) for kind in ("fixed", "attentive")}
            client.log_batch(parent, _metrics(numbers | {"bleu_best": best.bleu}), [Param("best", best.member)])
            client.log_artifacts(parent, str(directory), STUDY)


@contextmanager
def _run(client: MlflowClient, experiment: str, name: str, tags: dict[str, str]) -> Iterator[str]:
    """Yield the id of a new run, which ends with the block."""
    run = client.create_run(experiment, tags=tags, run_name=name).info.run_id
    try:
        yield run
    except BaseException:
        with suppress(MlflowException):  # the first error is more important
            client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)


def _log_row(client: MlflowClient, run: str, row: Row) -> None:
    numbers = {
        "bleu": row.bleu,
        "chrf": row.chrf,
        "parameters": row.parameters,
        "training_minutes": row.training_minutes,
        "training_tokens_per_second": row.tokens_per_second,
        "sentences_per_second": row.sentences_per_second,
    }
    epochs = [
        Metric(name, value, now(), number)
        for number, epoch in enumerate(row.epochs, 1)
        for name, value in (
            ("dev/bleu", epoch.bleu),
            ("dev/loss", epoch.loss),
            ("dev/minutes", epoch.minutes),
            ("dev/attention_entropy", epoch.attention_entropy),
        )
        if value is not None
    ]
    client.log_batch(run, [*_metrics(numbers), *epochs], [Param(name, value) for name, value in row.settings.items()])


def _metrics(numbers: dict[str, float]) -> list[Metric]:
    return [Metric(name, value, now(), 0) for name, value in numbers.items()]


def _bleu(results: Results, member: str) -> float:
    return next(row.bleu for row in results.rows if row.member == member)
