"""Measure how long training takes to reach a quality: BLEU BUILD_DIRECTORY PARAMS_FILE...

BLEU is a list of scores, such as "33 36". The training stage runs as in `make train`. After each epoch the averaged
weights also translate the validation split with the beam size of the evaluation. The time of that is not counted.
"""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.exit_status import PAUSED
from pipeline.plumbing.params_file import read_params

from .__main__ import OUTPUT, ROOT, conditions
from .experiment import TO_TRAIN, Experiment
from .figures import Figure, report
from .training import prepare

LISTENED = "benchmarks.quality_training"


def main() -> None:
    scores, build, *files = sys.argv[1:]
    targets = _targets(scores)
    experiment = Experiment(ROOT / build, read_params([Path(file) for file in files]))
    experiment.check(TO_TRAIN)
    figures = measure_quality(experiment, targets, OUTPUT / "quality" / experiment.name)
    params = experiment.params
    about = conditions() | {"beam size": str(params.evaluate.beam_size), "seed": str(params.train.seed)}
    report(f"Time to quality of {experiment.name}", figures, about, OUTPUT / f"quality-{experiment.name}")


def measure_quality(experiment: Experiment, targets: list[float], output: Path) -> list[Figure]:
    """Train until the highest target is reached, or without targets to the end. `output`/model is then the model."""
    shutil.rmtree(output, ignore_errors=True)
    command = prepare(experiment.build, output, experiment.params, {}, ROOT)
    evaluate = experiment.params.evaluate
    asked = {
        "output": str(output / "epochs.jsonl"),
        "highest": max(targets, default=math.inf),
        "beam_size": evaluate.beam_size,
        "length_penalty": evaluate.length_penalty,
    }
    module = command.index("stages.train")
    command[module : module + 1] = [LISTENED, json.dumps(asked)]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status not in (0, PAUSED):
        raise UserError(f"{' '.join(command)} ended with status {status}")
    epochs = [json.loads(line) for line in (output / "epochs.jsonl").read_text(encoding="utf-8").splitlines()]
    figures = []
    for target in targets:
        first = next((epoch for epoch in epochs if epoch["bleu"] >= target), None)
        if first:
            what = f"to BLEU {target:g} on the validation split: epoch {first['epoch']}, BLEU {first['bleu']:.1f}"
            figures.append(Figure(what, "minutes", (first["seconds"] / 60,)))
    best = max(epochs, key=lambda epoch: epoch["bleu"])
    figures.append(Figure(f"best BLEU on the validation split, epoch {best['epoch']}", "BLEU", (best["bleu"],)))
    figures.append(Figure("training to that epoch", "minutes", (best["seconds"] / 60,)))
    figures.append(Figure("training in all", "minutes", (epochs[-1]["seconds"] / 60,)))
    return figures


def _targets(scores: str) -> list[float]:
    try:
        targets = [float(score) for score in scores.split()]
    except ValueError:
        targets = []
    if not targets or not all(0 < target < 100 for target in targets):
        raise UserError(f"BLEU: got {scores!r}, expected scores between 0 and 100, as in: BLEU='33 36'")
    return targets


if __name__ == "__main__":
    fail_clearly(main)
