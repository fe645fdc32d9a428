"""Measure a GPU in one go: BUILD_DIRECTORY PARAMS_FILE...

A network of the size of GNMT (Wu et al. 2016, arXiv 1609.08144) is trained on the experiment's pairs for some time.
Then the experiment itself is trained to its end, and its model translates the first test set, many times over.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.data.facts import EncodedFacts
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import Params
from pipeline.plumbing.params_file import read_params

from .__main__ import OUTPUT, ROOT, conditions, measure_decoding, measure_machine, tokens_at_most
from .experiment import TO_TRAIN, Experiment
from .figures import Figure, asked_for, report
from .quality import measure_quality
from .training import Settings, overlay, train

LARGE: Settings = {
    "model": {
        "cell": "lstm",
        "embedding_size": 1024,
        "hidden_size": 1024,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "attention": "general",
        "dropout": 0.2,
        "input_feeding": False,
    },
    "train": {"batch_tokens": 32768, "micro_batch_tokens": 32768, "precision": "bf16"},
}
SENTENCES = 16384  # that are translated at least


def main() -> None:
    build, *files = sys.argv[1:]
    if not torch.cuda.is_available():
        raise UserError("bench-gpu needs a CUDA device, and this machine has none; to measure its CPU: make bench")
    experiment = Experiment(ROOT / build, read_params([Path(file) for file in files]))
    experiment.check(TO_TRAIN)
    seconds, repeats = asked_for("DURATION", 60), max(1, round(asked_for("REPEATS", 3)))
    figures = [*measure_machine(), *measure_large(experiment, LARGE, seconds)]
    output = OUTPUT / "gpu" / experiment.name
    figures += measure_quality(experiment, [], output)
    sentences = experiment.test_sources()
    sentences *= math.ceil(SENTENCES / len(sentences))
    figures += measure_decoding(experiment, output / "model", sentences, repeats)
    report(f"Speed of {experiment.name} on a GPU", figures, conditions(), OUTPUT / f"gpu-{experiment.name}")


def measure_large(experiment: Experiment, changed: Settings, seconds: float) -> Iterator[Figure]:
    """Yield the speed of training with changed settings, in source and target tokens."""
    settings = overlay(experiment.params.model_dump(mode="json", by_alias=True), changed)
    large = replace(experiment, params=Params.model_validate(settings))
    speed = train(large.build, OUTPUT / "gpu" / "large", large.params, {}, seconds, ROOT)
    facts = EncodedFacts.of(experiment.artifact("encoded")).train
    both = (facts.source_tokens + facts.target_tokens) / facts.target_tokens
    model, precision = large.params.model, large.params.train.precision
    yield Figure(
        f"train {model.encoder_layers} + {model.decoder_layers} layers of {model.hidden_size:,}, {precision}",
        "source + target tokens/s",
        tuple(both * tokens for tokens in speed.tokens_per_second),
        both * tokens_at_most(large, {}, precision),
    )


if __name__ == "__main__":
    fail_clearly(main)
