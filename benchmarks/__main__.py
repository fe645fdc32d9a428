"""Measure training, translating and start-up of an experiment: PART BUILD_DIRECTORY PARAMS_FILE...

PART is all, train, decode or startup. Every speed stands beside what the machine could do at most: the time of the
network's matrix products alone, each at its own shape, in the number format that is used.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.plumbing.command import TARGETS, fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.made_with import processor
from pipeline.plumbing.params import ModelSettings
from pipeline.plumbing.params_file import read_params
from pipeline.seq2seq.translator import batch_limits

from . import ceilings
from .arithmetic import TRAINING, Shape, decoding, encoding
from .experiment import TO_DECODE, TO_TRAIN, Experiment
from .figures import Figure, asked_for, report
from .startup import measure_startup
from .training import Settings, train

ROOT = Path.cwd()
OUTPUT = ROOT / "build" / "benchmarks"
GIGA = 1e9
CELLS: dict[str, dict[str, Any]] = {"LSTM": {"cell": "lstm"}, "GRU": {"cell": "gru"}}
INPUT_FEEDING = {"cell": "lstm", "input_feeding": True}


def main() -> None:
    part, build, *files = sys.argv[1:]
    experiment = Experiment(ROOT / build, read_params([Path(file) for file in files]))
    repeats, seconds = max(1, round(asked_for("REPEATS", 5))), asked_for("DURATION", 40)
    experiment.check({"train": TO_TRAIN, "decode": TO_DECODE}.get(part, TARGETS))
    title, output = f"Speed of {experiment.name}", OUTPUT / f"{part}-{experiment.name}"
    figures: list[Figure] = []
    try:
        for figure in measure(part, experiment, repeats, seconds):
            figures.append(figure)
    except BaseException:
        if figures:
            report(f"{title}, incomplete", figures, conditions(), output.with_name(f"{output.name}-incomplete"))
        raise
    report(title, figures, conditions(), output)


def measure(part: str, experiment: Experiment, repeats: int, seconds: float) -> Iterator[Figure]:
    """Yield the figures of a part, or of all parts."""
    if part != "startup":
        yield from measure_machine()
    if part in ("train", "all"):
        yield from measure_training(experiment, seconds)
    if part in ("decode", "all"):
        model = experiment.artifact("model").directory
        yield from measure_decoding(experiment, model, experiment.test_sources(), repeats)
    if part in ("startup", "all"):
        yield from measure_startup(experiment.name, repeats, ROOT)


def conditions() -> dict[str, str]:
    """Return what a figure depends on beside the code."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip() or "unknown",
        "processor": f"{processor()}, {torch.get_num_threads()} threads",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **({"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def measure_machine() -> Iterator[Figure]:
    """Yield what the machine can do at most."""
    for precision in ceilings.precisions():
        rate = ceilings.rate(ceilings.BIG, precision) / GIGA
        yield Figure(f"matrix product 2048 x 2048 x 2048, {precision}", "GFLOP/s", (rate,))
    yield Figure("copy in memory", "GB/s", (ceilings.bandwidth() / GIGA,))


def measure_training(experiment: Experiment, seconds: float) -> Iterator[Figure]:
    """Yield the speed and the memory of training, for both cells and each number format."""
    precisions = [precision for precision in ceilings.precisions() if precision != "int8"]
    variants = {f"{name}, {precision}": (cell, precision) for name, cell in CELLS.items() for precision in precisions}
    variants["LSTM with input feeding, " + precisions[-1]] = (INPUT_FEEDING, precisions[-1])
    for name, (model, precision) in variants.items():
        changed: Settings = {"model": model, "train": {"precision": precision}}
        print(f"training: {name}", file=sys.stderr)
        directory = OUTPUT / "training" / name.lower().replace(", ", "-").replace(" ", "-")
        speed = train(experiment.build, directory, experiment.params, changed, seconds, ROOT)
        ceiling = tokens_at_most(experiment, changed, precision)
        yield Figure(f"train {name}", "target tokens/s", speed.tokens_per_second, ceiling)
        yield Figure(f"train {name}, memory", "GB", (speed.peak_memory / GIGA,))


def tokens_at_most(experiment: Experiment, changed: Settings, precision: str) -> float:
    """Return the target tokens per second of a training that does only the matrix products."""
    model = ModelSettings(**{**experiment.params.model.model_dump(), **changed.get("model", {})})
    settings = experiment.params.train
    shape = experiment.shape(min(settings.batch_tokens, settings.micro_batch_tokens))
    products = [
        *encoding(model, shape),
        *decoding(model, shape, experiment.vocabulary, by_step=model.input_feeding),
    ]
    return shape.pairs * shape.target / (TRAINING * ceilings.seconds_for(products, precision))


def measure_decoding(experiment: Experiment, model: Path, sentences: list[str], repeats: int) -> Iterator[Figure]:
    """Yield the speed of greedy and beam search over some sentences, and the time of one short sentence."""
    found = decode(model, sentences, repeats, ROOT)
    precision = ceilings.precisions()[-1]
    for beam, name in (("1", "greedy"), ("5", "beam 5")):
        speeds = tuple(len(sentences) / seconds for seconds in found["beams"][beam]["all"])
        ceiling = sentences_at_most(experiment, int(beam), precision)
        yield Figure(f"translate {len(sentences):,} sentences, {name}", "sentences/s", speeds, ceiling)
        single = tuple(1000 * seconds for seconds in found["beams"][beam]["single"])
        yield Figure(f"translate one short sentence, {name}", "ms", single)
    yield Figure("translate, memory", "GB", (found["peak_memory"] / GIGA,))


def sentences_at_most(experiment: Experiment, beam_size: int, precision: str) -> float:
    """Return the sentences per second of a search that does only the matrix products."""
    model, mean = experiment.params.model, experiment.shape(1)
    most_cells, _ = batch_limits(ceilings.DEVICE)
    sentences = max(1, most_cells // beam_size // mean.source)
    one, beams = Shape(sentences, mean.source, mean.target), Shape(sentences * beam_size, mean.source, mean.target)
    products = [*encoding(model, one), *decoding(model, beams, experiment.vocabulary, by_step=True)]
    return sentences / ceilings.seconds_for(products, precision)


def decode(model: Path, sentences: list[str], repeats: int, root: Path) -> Mapping[str, Any]:
    """Translate in a fresh process by the code in `root`. Return what benchmarks/decoding.py prints."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "sentences.txt"
        file.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
        script = Path(__file__).with_name("decoding.py")
        command = [sys.executable, str(script), str(model), str(file), str(repeats)]
        process = subprocess.run(
            command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
        )
    if process.returncode:
        raise UserError(f"{' '.join(command)} ended with status {process.returncode}:\n{process.stderr}")
    found: Mapping[str, Any] = json.loads(process.stdout)
    return found


if __name__ == "__main__":
    fail_clearly(main)
