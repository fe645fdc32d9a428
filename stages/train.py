"""Train the model and publish it with the tokenizer and its record. This runs in each of NPROC processes."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from pipeline.data.encoded_shards import EncodedShards
from pipeline.data.encoding import open_split
from pipeline.data.facts import CorpusFacts
from pipeline.data.splits import read_split
from pipeline.data.tokenizer import Tokenizer, model_files
from pipeline.plumbing.artifacts import Artifact
from pipeline.plumbing.command import StageCall, expected_processes, run_stage
from pipeline.plumbing.params import ModelSettings, TrainSettings
from pipeline.plumbing.progress import Progress
from pipeline.plumbing.tracking.journal import JOURNAL
from pipeline.plumbing.tracking.record import RECORD, TRAINING, DatasetRecord
from pipeline.plumbing.tracking.run import Run, open_run
from pipeline.processes import join_processes, machine, make_gpu_deterministic
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.translator import save_weights
from pipeline.training.batching import TrainingData
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.facts import ModelExecution
from pipeline.training.optimization import check_warmup
from pipeline.training.plan import imbalance, padding_share
from pipeline.training.trainer import Log, StopRequest, Trainer
from pipeline.training.validation import Validation


def train(call: StageCall) -> None:
    model_settings = ModelSettings(**call.stamp["params"]["model"])
    settings = TrainSettings(**call.stamp["params"]["train"], **call.run_settings)
    stop_request = StopRequest(settings.max_minutes)
    if settings.deterministic:
        make_gpu_deterministic()
    accelerator = join_processes(settings.precision, expected_processes())
    corpus, encoded = call.inputs["corpus"], call.inputs["encoded"]
    tokenizer = Tokenizer.load(call.inputs["tokenizer"].directory)
    vocabularies = (tokenizer.source.vocab_size(), tokenizer.target.vocab_size())
    scratch = call.output.with_name(TRAINING)  # checkpoints, journal and record, which stay after an interruption
    facts = CorpusFacts.of(corpus)
    validation = Validation(
        open_split(encoded.path("validation.arrow")),
        *read_split(corpus.path("validation.parquet")),
        facts.target_language,
        tokenizer,
        settings.micro_batch_tokens,
        accelerator,
    )
    torch.manual_seed(settings.seed)
    trainer = Trainer(
        settings,
        Seq2Seq(model_settings, *vocabularies),
        TrainingData(EncodedShards(encoded), settings, accelerator.process_index, accelerator.num_processes),
        validation,
        accelerator,
        Checkpoints(scratch / "checkpoints", call.inputs, call.stamp, scratch / JOURNAL),
        stop_request,
    )
    check_warmup(settings.warmup_steps, settings.epochs, trainer.steps_per_epoch)
    if not accelerator.is_main_process:
        trainer.fit(lambda metrics, step: None)
        return
    plan = trainer.data.plan
    steps = plan.steps(0, plan.windows(0)[0])  # a sample, if there are many shards
    padding = round(padding_share(steps), 4)
    excess = round(imbalance(steps, accelerator.num_processes), 4)
    _print_plan(trainer, padding, excess)
    with _reported(call, scratch, trainer) as (run, log):
        trainer.fit(log)
    with call.publish() as draft:
        languages = {"source_language": facts.source_language, "target_language": facts.target_language}
        save_weights(draft.directory, trainer.best_weights, model_settings, vocabularies, **languages)
        for path in [*model_files(call.inputs["tokenizer"].directory), scratch / JOURNAL, scratch / RECORD]:
            shutil.copy(path, draft.directory)
        draft.facts = trainer.facts()
        draft.execution = ModelExecution(
            seconds=round(trainer.position.seconds, 1),
            tokens_per_second=round(trainer.position.tokens / trainer.position.seconds, 1),
            processes=accelerator.num_processes,
            padding=padding,
            imbalance=excess,
            attempt=run.attempt,
        )
        draft.execution_files |= {JOURNAL, RECORD}
        draft.made_with["machine"] |= machine(accelerator)
    shutil.rmtree(scratch)


def _print_plan(trainer: Trainer, padding: float, excess: float) -> None:
    """Print how training will run, and the step from which it continues."""
    processes, position = trainer.accelerator.num_processes, trainer.position
    if restarts := int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        print(f"train: a process died; all were restarted (restart {restarts})", file=sys.stderr)
    print(f"train: {trainer.steps_per_epoch:,} steps per epoch, {padding:.1%} padding", file=sys.stderr)
    if processes > 1:
        print(
            f"train: the slowest of {processes} processes has {excess:.1%} more tokens than the mean", file=sys.stderr
        )
    if position.step:
        print(f"train: continuing after step {position.step:,} (epoch {position.epoch + 1})", file=sys.stderr)
    if position.processes not in (0, processes):
        print(f"train: now with {processes} processes, before with {position.processes}", file=sys.stderr)


def dataset_records(corpus: Artifact) -> list[DatasetRecord]:
    """Describe each split for MLflow, with the digest of its file and the sources of its text."""
    facts = CorpusFacts.of(corpus)
    sources = [source.model_dump(mode="json", exclude_none=True) for source in facts.sources]
    return [
        DatasetRecord(
            name=facts.dataset_name(split),
            digest=corpus.files[f"{split}.parquet"]["sha256"],
            source_type="code",
            source=json.dumps({"tags": {"sources": sources}}, ensure_ascii=False),
            profile=json.dumps({"pairs": pairs}),
            context={"train": "training", "validation": "validation"}.get(split, "test"),
        )
        for split, pairs in facts.splits.items()
    ]


@contextmanager
def _reported(call: StageCall, scratch: Path, trainer: Trainer) -> Iterator[tuple[Run, Log]]:
    """Open the run of the training. Yield it, and a function that logs metrics to it and shows the progress."""
    inputs = {name: artifact.digest for name, artifact in call.inputs.items()}
    training = hashlib.sha256(json.dumps([call.stamp, inputs], sort_keys=True).encode()).hexdigest()
    settings = {k: v for made in call.inputs.values() for k, v in made.stamp["params"].items()} | call.stamp["params"]
    build = call.output.parent.parent
    datasets = dataset_records(call.inputs["corpus"])
    # The bar closes before the message of an interruption, so that this message is the last line.
    with (
        open_run(build, call.experiment, scratch, training, settings, datasets) as run,
        closing(Progress(trainer.position.step, trainer.total_steps, trainer.steps_per_epoch)) as progress,
    ):

        def log(metrics: dict[str, float], step: int) -> None:
            run.log(metrics, step)
            progress.show(metrics, step)

        yield run, log


if __name__ == "__main__":
    run_stage(train)
