"""Send MLflow the parts that it is missing of the record of every training in build/. Run this at any time."""

import shutil
from pathlib import Path

from mlflow import MlflowClient

from pipeline.plumbing.command import BUILD, fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.lock import holder
from pipeline.plumbing.tracking.journal import JOURNAL, read_journal
from pipeline.plumbing.tracking.record import MODEL, RECORD, TRAINING, UNSENT, killed, read_record, unsent
from pipeline.plumbing.tracking.replica import replicate
from pipeline.plumbing.tracking.store import open_store, short_timeouts


def sync() -> None:
    homes = {home: places for home in sorted(BUILD.glob("*")) if (places := records(home))}
    if not homes:
        print(f"there is no record of a training in {BUILD}")
        return
    client = open_store(BUILD)
    failures = []
    with short_timeouts():
        for home, places in homes.items():
            worker = holder(home)
            for place in places:
                if worker and place.name != MODEL:
                    print(f"{place}: skipped, because it is in use by {worker}")
                    continue
                try:
                    print(f"{place}: {send(client, place)}")
                except UserError as error:
                    failures.append(f"{place}: {error}")
    if failures:
        raise UserError("\n".join(failures))


def records(home: Path) -> list[Path]:
    """Return the directories of an experiment's records."""
    return [*unsent(home), *(home / name for name in (TRAINING, MODEL) if (home / name / RECORD).exists())]


def send(client: MlflowClient, place: Path) -> str:
    """Send the record of a training that is not running. Return a description of what MLflow has now."""
    record = killed(place)
    if record != read_record(place):
        record.write(place)
    run_id = replicate(client, BUILD, place)
    metrics = sum(len(entry.metrics) for entry in read_journal(place / JOURNAL))
    if place.parent.name == UNSENT:
        shutil.rmtree(place)
    return f"run {run_id}, {metrics:,} metrics, {record.status}"


if __name__ == "__main__":
    fail_clearly(sync)
