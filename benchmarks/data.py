"""Measure the data stages with corpora of several sizes: pairs a second, and the most memory that they have.

`make bench-data PAIRS="100000 1000000"` makes a corpus of each size from the training pairs of an experiment. It
repeats them, and in each repetition it replaces some words of the source, and as many of the target, by words of other
sentences. Then it runs download, tokenizer and encode, as Make does, and starts training up to its first step.

The memory is that of all processes of a stage together, without pages of files (which the system may drop).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.facts import CorpusFacts, EncodedFacts
from pipeline.data.splits import read_split
from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params_file import read_params

from .__main__ import OUTPUT, ROOT, conditions
from .experiment import Experiment
from .figures import Figure, report
from .training import prepare

SIZES = "100000 1000000"
REPLACED = 0.3  # share of the words
ROWS = 100_000  # pairs made at once
EVERY = 0.05  # seconds between two looks at the memory
PLANNED = "steps per epoch"  # training says this before its first step


def main() -> None:
    build, *files = sys.argv[1:]
    experiment = Experiment(ROOT / build, read_params([Path(file) for file in files]))
    experiment.check(["corpus"])
    figures: list[Figure] = []
    for pairs in sizes(os.environ.get("PAIRS") or SIZES):
        directory = OUTPUT / "data" / f"{pairs}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        made = directory / "train.parquet"
        write_corpus(experiment, pairs, made)
        figures += measure(experiment, directory, made, pairs)
        shutil.rmtree(directory)
    asked = {name: os.environ[name] for name in ("NUM_PROC", "ENGINE") if os.environ.get(name)}
    name = "-".join(["data", experiment.name, *asked.values()])
    report(f"Data stages of {experiment.name}", figures, conditions() | asked, OUTPUT / name)


def sizes(asked: str) -> list[int]:
    try:
        found = [int(word) for word in asked.split()]
    except ValueError:
        found = []
    if not found or min(found) < 1000:
        raise UserError(f"PAIRS: got {asked!r}, expected numbers from 1000 on, as in: PAIRS={SIZES!r}")
    return found


def write_corpus(experiment: Experiment, pairs: int, path: Path) -> None:
    """Write so many pairs, made of the experiment's training pairs."""
    sides = read_split(experiment.artifact("corpus").path("train.parquet"))
    random = np.random.default_rng(1)
    words = [np.array(" ".join(side).split(" "), dtype=object) for side in sides]
    lengths = [np.array([text.count(" ") + 1 for text in side]) for side in sides]
    begins = [np.concatenate([[0], np.cumsum(each)]) for each in lengths]
    settings = experiment.params.download
    names = (settings.source_language, settings.target_language)
    schema = pa.schema({name: pa.string() for name in names})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, pairs, ROWS):
            rows = random.permutation(len(sides[0]))[: min(ROWS, pairs - start)]
            rows = np.resize(rows, min(ROWS, pairs - start))
            columns = [perturbed(words[n], begins[n], rows, random) for n in range(2)]
            writer.write_table(pa.table([pa.array(column) for column in columns], schema))


def perturbed(
    words: "np.ndarray[tuple[int], np.dtype[np.object_]]",
    begins: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    rows: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    random: np.random.Generator,
) -> list[str]:
    """Return sentences in which a share of the words is replaced by other words of the corpus."""
    counts = np.diff(begins)[rows]
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begins[rows], counts)
    replaced = random.random(len(places)) < REPLACED
    places[replaced] = random.integers(0, len(words), int(replaced.sum()))
    chosen = iter(words[places].tolist())
    return [" ".join([next(chosen) for _ in range(count)]) for count in counts.tolist()]


def measure(experiment: Experiment, directory: Path, made: Path, pairs: int) -> Iterator[Figure]:
    """Run the stages, and yield the speed and the memory of each."""
    files = {"splits": {"train": str(made)}, "licence": "for measurements"}
    settings = experiment.params.model_dump(mode="json", by_alias=True)
    settings["download"] |= {"source": "files", "files": files, "validation_pairs": 1000, "test_pairs": 1000}
    write_settings(directory, settings)
    stamps, manifest = directory / "stamps", "manifest.json"
    inputs: list[str] = []
    for stage, output in (("download", "corpus"), ("tokenizer", "tokenizer"), ("encode", "encoded")):
        command = [sys.executable, "-m", f"stages.{stage}", str(stamps / f"{stage}.json"), *inputs]
        seconds, memory = watch([*command, str(directory / output)])
        inputs.append(str(directory / output / manifest))
        yield Figure(f"{stage}, {pairs:,} pairs", "pairs/s", (pairs / seconds,))
        yield Figure(f"{stage}, {pairs:,} pairs, memory", "GB", (memory / 1e9,))
    facts = CorpusFacts.of(open_artifact(directory / "corpus", "download"))
    encoded = EncodedFacts.of(open_artifact(directory / "encoded", "encode")).train.pairs
    print(f"{pairs:,} pairs: {encoded:,} encoded; dropped: {json.dumps(facts.dropped)}", file=sys.stderr)
    command = prepare(directory, directory / "training", experiment.params, {}, ROOT)
    seconds, memory = watch(command, until=PLANNED)
    yield Figure(f"training of {pairs:,} pairs begins", "s", (seconds,))
    yield Figure(f"training of {pairs:,} pairs begins, memory", "GB", (memory / 1e9,))


def write_settings(directory: Path, settings: dict[str, object]) -> None:
    path = directory / "settings.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "stages.stamp", str(directory / "stamps"), str(path)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def watch(command: list[str], until: str | None = None) -> tuple[float, int]:
    """Run a command to its end, or until it prints `until`. Return the seconds and the most bytes of memory."""
    log = OUTPUT / "data" / "log.txt"
    begin, most = time.monotonic(), 0
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            most = max(most, resident(process.pid))
            if until and until in log.read_text(encoding="utf-8"):
                process.terminate()
                until = None
                seconds = time.monotonic() - begin
                process.wait()
                return seconds, most
            time.sleep(EVERY)
    if process.returncode:
        raise UserError(f"{' '.join(command)} ended with status {process.returncode}:\n{log.read_text()}")
    return time.monotonic() - begin, most


def resident(pid: int) -> int:
    """Return the memory of a process and of those that it started, without pages of files."""
    total = 0
    try:
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            memory = each.memory_info()
            total += memory.rss - memory.shared
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    fail_clearly(main)
