"""Log a study to MLflow: a run of its own with the page and the tables, and a nested run for each member."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils import mlflow_tags

from ..plumbing.artifacts import experiment_option
from ..plumbing.tracking.record import git_commit, now, read_record, user_name
from ..plumbing.tracking.store import experiment_id, open_store
from .members import Family
from .results import Results, Row

STUDY = "study"  # the tag of a study's run and of the nested ones


def log_study(build: Path, family: Family, results: Results, directory: Path) -> str:
    """Log the results and the files in `directory`. Return the id of the study's run. Raise errors of MLflow."""
    client = open_store(build)
    option = experiment_option(results.data)
    experiment = experiment_id(client, results.data, build, f"make study{option}: a run for each study")
    tags = {
        STUDY: results.data,
        mlflow_tags.MLFLOW_USER: user_name(),
        mlflow_tags.MLFLOW_SOURCE_NAME: f"make study{option}",
        mlflow_tags.MLFLOW_GIT_COMMIT: git_commit() or "unknown",
    }
    parent = client.create_run(experiment, tags=tags, run_name=f"study of {results.data}").info.run_id
    try:
        for row, member in zip(results.rows, family.members, strict=True):
            attempt = read_record(member.evaluated.artifacts["model"].directory).attempt
            nested = tags | {mlflow_tags.MLFLOW_PARENT_RUN_ID: parent, "training": attempt}
            run = client.create_run(experiment, tags=nested, run_name=row.member).info.run_id
            _log_row(client, run, row)
            client.set_terminated(run)
        best = max(results.rows, key=lambda row: row.bleu)
        numbers = {"bleu_fixed": _bleu(results, results.fixed), "bleu_attentive": _bleu(results, results.attentive)}
        client.log_batch(parent, _metrics(numbers | {"bleu_best": best.bleu}), [Param("best", best.member)])
        client.log_artifacts(parent, str(directory), STUDY)
    except BaseException:
        client.set_terminated(parent, "FAILED")
        raise
    client.set_terminated(parent)
    return str(parent)


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
        for name, value in (("dev/bleu", epoch.bleu), ("dev/loss", epoch.loss), ("dev/minutes", epoch.minutes))
    ]
    client.log_batch(run, [*_metrics(numbers), *epochs], [Param(name, value) for name, value in row.settings.items()])


def _metrics(numbers: dict[str, float]) -> list[Metric]:
    return [Metric(name, value, now(), 0) for name, value in numbers.items()]


def _bleu(results: Results, member: str) -> float:
    return next(row.bleu for row in results.rows if row.member == member)
