"""Interrupt a real `make` at seeded moments, and collect everything that must not depend on interruptions."""

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.stamps import SECTIONS
from pipeline.plumbing.tracking.journal import JOURNAL, read_journal
from pipeline.registry.package_record import PackageRecord
from pipeline.registry.packaging import CARD
from pipeline.registry.versions import fetch_record
from tests.project import DIRECTORIES, Project, new_project, stages_in
from tests.toy_corpus import sentence_pairs, write_tsv

TIMED = ("MLmodel", CARD)  # files of a package that contain times
SMALLER = {
    "epochs: 3": "epochs: 3\n  checkpoint_seconds: 1",
    "_pairs: 100": "_pairs: 60",
    "hidden_size: 64": "hidden_size: 48",
}


@dataclass(frozen=True)
class Interruption:
    """A signal sent to `make` while it is in a stage."""

    stage: str
    name: str  # of the signal
    aim: str  # group: make and all that it started; make: it alone; stage: the stage's process, or its launcher
    seconds: float  # after the stage began


def draw(seed: int) -> list[Interruption]:
    """Draw one interruption for each stage and two for training, each in another `make`."""
    random_ = random.Random(seed)
    longest = {"download": 1.5, "tokenizer": 1.0, "encode": 1.5, "train": 7.0, "evaluate": 4.0, "register": 9.0}
    stages = sorted([*SECTIONS, "train"], key=list(SECTIONS).index)
    ways = [("SIGKILL", "group"), ("SIGTERM", "group"), ("SIGINT", "group"), ("SIGTERM", "make"), ("SIGKILL", "stage")]
    drawn = []
    for stage in stages:
        name, aim = random_.choice([*ways, ("SIGUSR1", "stage")] if stage == "train" else ways)
        drawn.append(Interruption(stage, name, aim, random_.uniform(0, longest[stage])))
    return drawn


def small_project(directory: Path) -> Project:
    """A project whose pipeline takes half a minute."""
    project = new_project(directory)
    experiment = project.root / "experiments/smoke.yaml"
    text = experiment.read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        text = text.replace(old, new)
    experiment.write_text(text, encoding="utf-8")
    write_tsv(project.root / "build/smoke-corpus/train.tsv", sentence_pairs(1000))
    return project


def interrupt(project: Project, interruption: Interruption, processes: int) -> tuple[bool, str]:
    """Run `make` and interrupt it. Return whether the signal ended it, and its output. It may have ended earlier."""
    log = project.root / "interrupted.log"
    with open(log, "wb") as file:
        make = subprocess.Popen(
            ["make", f"NPROC={processes}"],
            cwd=project.root, env=project.environment(), stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    while make.poll() is None and f" stages.{interruption.stage} " not in log.read_text(encoding="utf-8"):
        time.sleep(0.01)
    time.sleep(interruption.seconds)
    number = signal.Signals[interruption.name]
    if make.poll() is None:
        _send(make.pid, number, interruption.aim)
    try:
        make.wait(timeout=90)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{interruption} did not end make:\n{log.read_text(encoding='utf-8')}") from None
    return make.returncode != 0, log.read_text(encoding="utf-8")


def _send(make: int, number: signal.Signals, aim: str) -> None:
    """Send the signal. Torch's workers have process groups of their own. The test checks that they end too."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if aim == "group":
            os.killpg(make, number)
        elif aim == "make":
            os.kill(make, number)
        else:
            for stage in psutil.Process(make).children():
                stage.send_signal(number)


def whole_stages(project: Project) -> list[str]:
    """Return the stages whose artifacts exist, after checking every file of each."""
    whole = [stage for stage in SECTIONS if project.manifest(stage).exists()]
    for stage in whole:
        open_artifact(project.build / DIRECTORIES[stage], stage)
    return whole


def outcome(project: Project) -> dict[str, Any]:
    """Return everything that must not depend on interruptions: all files, all metrics, and their copies in MLflow."""
    files = {
        f"{DIRECTORIES[stage]}/{name}": told["sha256"]
        for stage in list(SECTIONS)[:-1]
        for name, told in open_artifact(project.build / DIRECTORIES[stage], stage).files.items()
    }
    measured = Counter(
        (key, entry.step, value)
        for entry in read_journal(project.build / "model" / JOURNAL)
        for key, value in entry.metrics.items()
        if is_reproducible(key)
    )
    return {"files": files, "metrics": measured, "mlflow": registry_content(project)}


def is_reproducible(key: str) -> bool:
    return not key.startswith("system/") and key != "train/tokens_per_second"


def registry_content(project: Project) -> dict[str, Any]:
    """Return the runs, metrics, models and versions in the project's store, without identifiers and times."""
    client = MlflowClient(f"sqlite:///{project.root}/build/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "smoke")
    runs = client.search_runs([experiment.experiment_id])
    metrics = Counter(
        (key, metric.step, metric.value)
        for run in runs
        for key in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, key)
        if is_reproducible(key)
    )
    versions = client.search_model_versions("name = 'smoke'")
    records = [_record(client, version) for version in versions]
    packages = [{name: digest for name, digest in record.files.items() if name not in TIMED} for record in records]
    models = client.search_logged_models([experiment.experiment_id])
    return {
        "runs": [(run.info.status, run.data.params) for run in runs],
        "metrics": metrics,
        "versions": [
            (v.version, v.tags["BLEU"], v.tags["data"], record.corpus)
            for v, record in zip(versions, records, strict=True)
        ],
        "packages": packages,
        "models": [str(model.status) for model in models],
    }


def _record(client: MlflowClient, version: ModelVersion) -> PackageRecord:
    with tempfile.TemporaryDirectory() as scratch:
        return fetch_record(client, version, Path(scratch))


def run_interrupted(project: Project, seed: int, processes: int) -> list[str]:
    """Run `make` with the drawn interruptions, then to its end. Return the interruptions that ended a `make`."""
    hits = []
    for interruption in draw(seed):
        before = whole_stages(project)
        is_hit, said = interrupt(project, interruption, processes)
        ran = stages_in(said)
        assert not set(ran) & set(before), f"{interruption} repeated {set(ran) & set(before)}:\n{said}"
        if is_hit:
            hits.append(f"{interruption.name} to {interruption.aim} in {ran[-1] if ran else 'the summary'}")
    last = project.make(f"NPROC={processes}")
    assert last.returncode == 0, last.stdout + last.stderr
    return hits
