"""Train on toy sentences in this process."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from sentencepiece import SentencePieceProcessor

from pipeline.data.encoding import EncodedSide, EncodedSplit, LengthCounts
from pipeline.data.tokenizer import EOS, Tokenizer
from pipeline.plumbing.params import ModelSettings, TrainSettings
from pipeline.seq2seq.model import Seq2Seq
from pipeline.training.batching import TrainingData
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.trainer import StopRequest, Trainer
from pipeline.training.validation import Validation

V = 24
SETTINGS: dict[str, Any] = {
    "epochs": 2, "batch_tokens": 200, "micro_batch_tokens": 50, "learning_rate": 1e-2, "warmup_steps": 4,
    "ema_decay": 0.9, "checkpoint_seconds": 10**6, "precision": "fp32",
}  # fmt: skip


def toy_split(pairs: int, seed: int) -> EncodedSplit:
    """Return random sentences; the translation of each is itself, reversed and with 1 added to each id."""
    random = np.random.default_rng(seed)
    sources = [random.integers(4, V - 1, random.integers(2, 9)).tolist() for _ in range(pairs)]
    targets = [[i + 1 for i in reversed(source)] for source in sources]

    def side(sentences: list[list[int]]) -> EncodedSide:
        closed = [[*ids, EOS] for ids in sentences]
        return EncodedSide(np.concatenate(closed).astype(np.int32), np.cumsum([0, *map(len, closed)]))

    return EncodedSplit(side(sources), side(targets))


class ToyShards:
    """Shards in memory. It records which were asked for."""

    def __init__(self, splits: Sequence[EncodedSplit]) -> None:
        self.splits, self.kept = splits, list[list[int]]()
        self.counts: Sequence[LengthCounts] = [LengthCounts.of(split) for split in splits]

    def name(self, number: int) -> str:
        return f"train-{number}"

    def keep(self, numbers: Iterable[int]) -> None:
        self.kept.append(list(numbers))

    def open(self, number: int) -> EncodedSplit:
        return self.splits[number]


class Interrupted(Exception):
    pass


class StopAt(StopRequest):
    """Request a stop after a given step."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self.trainer, self.step = trainer, step

    @property
    def reason(self) -> str | None:
        return "a test" if self.trainer.position.step + 1 >= self.step else None


@dataclass(frozen=True)
class ToyValidation(Validation):
    """Computes the loss on toy sentences. A score that the test chooses replaces BLEU."""

    score: Callable[[Seq2Seq], float]

    def bleu(self, model: Seq2Seq) -> float:
        return self.score(model)


@dataclass
class Run:
    """One training in this process, with its metrics."""

    directory: Path
    settings: dict[str, Any] = field(default_factory=dict)
    stop_at: int = 10**9
    device: str = "cpu"
    network: dict[str, Any] = field(default_factory=dict)
    shards: int = 1  # of the training split
    precision: str = ""  # no or bf16, as Accelerate names them
    steps_ahead: int | None = None  # None: as many as the trainer chooses
    bleus: list[float] = field(default_factory=lambda: [0.0] * 50)  # validation BLEU of each epoch
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def trainer(self) -> Trainer:
        torch.manual_seed(1)
        network = {"embedding_size": 16, "hidden_size": 16, "dropout": 0.1, "word_dropout": 0.1, "decoder_layers": 2}
        model = Seq2Seq(ModelSettings(**network | self.network), V, V)
        on_cpu = self.device == "cpu"
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=self.precision or ("no" if on_cpu else "bf16"))
        tokenizer = Tokenizer(SentencePieceProcessor(), SentencePieceProcessor())  # not used: no text is decoded
        settings = TrainSettings.model_validate(SETTINGS | self.settings)
        trainer = Trainer(
            settings,
            model,
            TrainingData(ToyShards([toy_split(300, 1 + n) for n in range(self.shards)]), settings),
            ToyValidation(
                *(toy_split(40, 2), [], [], "de", tokenizer, settings.micro_batch_tokens, accelerator),
                score=lambda model: self.bleus[trainer.position.epoch],
            ),
            accelerator,
            Checkpoints(self.directory / "checkpoints", {}, {"settings": self.settings}, self.directory / "journal"),
            StopRequest(None),
        )
        if self.steps_ahead is not None:
            trainer.steps_ahead = self.steps_ahead
        return trainer

    def log(self, metrics: dict[str, float], step: int) -> None:
        timeless = {name: value for name, value in metrics.items() if name != "train/tokens_per_second"}
        self.metrics.append((step, timeless))
        if step >= self.stop_at:
            raise Interrupted

    def fit(self) -> Trainer:
        trainer = self.trainer()
        trainer.fit(self.log)
        return trainer


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> None:
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=tolerance, atol=tolerance, msg=f"{name} differs")
