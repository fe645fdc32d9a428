"""corpus + tokenizer + encoded -> the trained model, with all that translating needs. One process of NPROC."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pipeline.checkpoint import Checkpoints
from pipeline.encoding import open_split
from pipeline.journal import JOURNAL
from pipeline.model import Seq2Seq
from pipeline.params import ModelSettings, TrainSettings
from pipeline.processes import join_processes
from pipeline.record import RECORD, TRAINING
from pipeline.splits import read_split
from pipeline.tokenizer import Tokenizer, model_files
from pipeline.tracking import Run, open_run
from pipeline.trainer import Log, Trainer
from pipeline.translator import save_weights
from pipeline.validation import Validation
from stages.command import StageCall, run_stage
from stages.progress import Progress


def train(call: StageCall) -> None:
    model_settings = ModelSettings(**call.stamp["params"]["model"])
    settings = TrainSettings(**call.stamp["params"]["train"])
    accelerator = join_processes(settings.precision, int(os.environ.get("PIPELINE_NPROC", "1")))
    corpus, encoded = call.inputs["corpus"], call.inputs["encoded"]
    tokenizer = Tokenizer.load(call.inputs["tokenizer"].directory)
    vocabularies = (tokenizer.source.vocab_size(), tokenizer.target.vocab_size())
    scratch = call.output.with_name(TRAINING)  # what survives an interruption: checkpoints, journal, run
    target_language = corpus.facts["target_language"]
    validation = Validation(*read_split(corpus.path("validation.parquet")), target_language, tokenizer, accelerator)
    torch.manual_seed(settings.seed)
    trainer = Trainer(
        settings,
        Seq2Seq(model_settings, *vocabularies),
        open_split(encoded.path("train.arrow")),
        open_split(encoded.path("validation.arrow")),
        accelerator,
        Checkpoints(scratch / "checkpoints", call.inputs, call.stamp),
        validation.bleu,
    )
    if not accelerator.is_main_process:
        trainer.fit(lambda metrics, step: None)
        return
    with _reported(call, scratch, trainer) as (run, log):
        trainer.fit(log)
    with call.publish() as draft:
        languages = {"source_language": corpus.facts["source_language"], "target_language": target_language}
        save_weights(draft.directory, trainer.best_weights, model_settings, vocabularies, **languages)
        for path in [*model_files(call.inputs["tokenizer"].directory), scratch / JOURNAL, scratch / RECORD]:
            shutil.copy(path, draft.directory)
        draft.facts.update(trainer.summary() | {"attempt": run.attempt})
    shutil.rmtree(scratch)


@contextmanager
def _reported(call: StageCall, scratch: Path, trainer: Trainer) -> Iterator[tuple[Run, Log]]:
    """The training's MLflow run, and a log that feeds both it and the person in front."""
    inputs = {name: artifact.digest for name, artifact in call.inputs.items()}
    training = hashlib.sha256(json.dumps([call.stamp, inputs], sort_keys=True).encode()).hexdigest()
    progress = Progress(trainer.position.step, trainer.total_steps)
    settings = {k: v for made in call.inputs.values() for k, v in made.stamp["params"].items()} | call.stamp["params"]
    build = call.output.parent.parent
    with open_run(build, call.experiment, scratch, training, settings, call.inputs["corpus"]) as run:

        def log(metrics: dict[str, float], step: int) -> None:
            run.log(metrics, step)
            progress.show(metrics, step)

        yield run, log
    progress.close()


if __name__ == "__main__":
    run_stage(train)
