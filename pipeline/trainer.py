"""Owns the training loop: updates, schedule, validation, early stopping, and where training stands.

Knows nothing of MLflow, files or terminals: it reports through a `Log`, and saves through Checkpoints.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .batching import Rows, Step, collate, micro_batches_per_step, padding_share, plan_epoch, plan_in_order
from .checkpoint import Checkpoints
from .encoding import EncodedSplit
from .errors import UserError
from .model import Seq2Seq
from .params import TrainSettings

Log = Callable[[dict[str, float], int], None]  # metrics, step
Weights = tuple[Tensor, ...] | list[Tensor]
Score = Callable[[Seq2Seq], float]  # BLEU of the validation split, by free decoding
REPORT_EVERY = 10  # steps between two reports of the training loss


@dataclass
class Position:
    """Where training stands; with the weights and the optimiser's state, all that going on needs.

    Random states are not part of it: each micro-batch seeds its own (see `Trainer._seed`).
    """

    epoch: int = 0
    index: int = 0  # of the next step in the epoch's plan
    step: int = 0  # updates made
    best_epoch: int = 0  # counted from 1
    best_loss: float = math.inf
    best_bleu: float = -1.0
    tokens: int = 0  # target tokens learned from
    seconds: float = 0.0  # of training, over all interruptions

    def is_best(self, bleu: float, loss: float) -> bool:
        """Better translations first; the loss decides between equals, as in the first epochs, when all are 0."""
        return (bleu, -loss) > (self.best_bleu, -self.best_loss)


@dataclass
class Trainer:
    settings: TrainSettings
    model: Seq2Seq
    train: EncodedSplit
    validation: EncodedSplit
    accelerator: Accelerator
    checkpoints: Checkpoints
    score: Score
    position: Position = field(default_factory=Position)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.averaged = AveragedModel(self.model, multi_avg_fn=_moving_average(self.settings.ema_decay))
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.steps_per_epoch = len(self._plan(0))
        self._restore(optimizer)
        self.averaged.to(self.accelerator.device)
        self.network, self.optimizer = self.accelerator.prepare(self.model, optimizer)

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * self.steps_per_epoch

    def fit(self, log: Log) -> None:
        """Train from where `position` stands until the last epoch, or until patience runs out."""
        self._log = log
        self._clock = self._saved = time.monotonic()
        self._reported = (self.position.tokens, self.position.seconds)
        while self.position.epoch < self.settings.epochs and not self._out_of_patience():
            steps = self._plan(self.position.epoch)
            while self.position.index < len(steps):
                self._update(steps[self.position.index])
                if time.monotonic() - self._saved > self.settings.checkpoint_seconds:
                    self._save()
            self._finish_epoch()

    def summary(self) -> dict[str, Any]:
        """What a reader of the model wants to know of its training."""
        position = self.position
        return {
            "validation_loss": position.best_loss,
            "validation_bleu": position.best_bleu,
            "best_epoch": position.best_epoch,
            "epochs": position.epoch,
            "steps": position.step,
            "seconds": round(position.seconds, 1),
            "tokens_per_second": round(position.tokens / position.seconds, 1),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "precision": {"no": "fp32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision),
            "processes": self.accelerator.num_processes,
            "padding": round(padding_share(self.train, self._plan(0)), 4),
        }

    def _update(self, step: Step) -> None:
        """One optimiser step. The loss is normalised by the tokens of all processes and micro-batches."""
        position, processes = self.position, self.accelerator.num_processes
        rate = self.settings.learning_rate * schedule(position.step + 1, self.settings.warmup_steps, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        loss = torch.zeros((), device=self.accelerator.device)
        share = step.share(self.accelerator.process_index, processes)
        for place, rows in share:
            is_last = place == share[-1][0]  # gradients are exchanged once a step
            with nullcontext() if is_last else self.accelerator.no_sync(self.network):
                # DDP averages over processes: times their number, so that the sum over all tokens is left
                part = self._loss(rows, place) * processes / step.target_tokens
                self.accelerator.backward(part)
                loss += part.detach() / processes
        norm = float(self.accelerator.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip))
        if not math.isfinite(norm):
            raise UserError(
                f"the gradient is not finite at step {position.step + 1} (epoch {position.epoch + 1}); "
                "lower train.learning_rate or set train.precision: fp32"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update_parameters(self.accelerator.unwrap_model(self.network))
        position.step, position.index = position.step + 1, position.index + 1
        position.tokens += step.target_tokens
        if position.step % REPORT_EVERY == 0:
            self._report(loss, norm, rate)

    def _loss(self, rows: Rows, place: int) -> Tensor:
        """Summed loss of one micro-batch.

        The random numbers of its dropout depend on its place in the plan alone, not on the process that has it or on
        what was interrupted: this makes training the same on any number of processes, and resuming exact.
        """
        torch.manual_seed(_seed(self.settings.seed, self.position.step, place))
        batch = collate(self.train, rows).to(self.accelerator.device)
        with self.accelerator.autocast():
            loss: Tensor = self.network(batch.source, batch.lengths, batch.target, self.settings.label_smoothing)
        return loss

    def _finish_epoch(self) -> None:
        """Validate the averaged weights, keep them if they are the best so far, and go on to the next epoch."""
        position = self.position
        model: Seq2Seq = self.averaged.module  # type: ignore[assignment]
        model.eval()
        loss, bleu = self._validation_loss(model), self.score(model)
        position.epoch, position.index = position.epoch + 1, 0
        if position.is_best(bleu, loss):
            position.best_epoch, position.best_bleu, position.best_loss = position.epoch, bleu, loss
            self.best_weights = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
        self._log(
            {
                "validation/loss": loss,
                "validation/perplexity": math.exp(min(loss, 50)),
                "validation/bleu": bleu,
                "epoch": float(position.epoch),
            },
            position.step,
        )
        self._save()

    @torch.no_grad()
    def _validation_loss(self, model: nn.Module) -> float:
        """Cross-entropy in nats a target token, teacher-forced, over the validation split."""
        plan = plan_in_order(self.validation, self.settings.micro_batch_tokens)
        total = torch.zeros((), device=self.accelerator.device)
        for rows in plan[self.accelerator.process_index :: self.accelerator.num_processes]:
            batch = collate(self.validation, rows).to(self.accelerator.device)
            total += model(batch.source, batch.lengths, batch.target)
        return float(self.accelerator.reduce(total, "sum")) / int(self.validation.target.lengths.sum())

    def _report(self, loss: Tensor, norm: float, rate: float) -> None:
        tokens, seconds = self.position.tokens - self._reported[0], self._elapsed() - self._reported[1]
        self._reported = (self.position.tokens, self._elapsed())
        mean = float(self.accelerator.reduce(loss, "sum"))
        self._log(
            {
                "train/loss": mean,
                "train/gradient_norm": norm,
                "train/learning_rate": rate,
                "train/tokens_per_second": tokens / seconds,
            },
            self.position.step,
        )

    def _plan(self, epoch: int) -> list[Step]:
        s = self.settings
        per_step = micro_batches_per_step(s.batch_tokens, s.micro_batch_tokens, self.accelerator.num_processes)
        return plan_epoch(self.train, per_step, s.micro_batch_tokens, s.seed, epoch)

    def _out_of_patience(self) -> bool:
        return self.position.epoch - self.position.best_epoch >= self.settings.patience

    def _elapsed(self) -> float:
        return self.position.seconds + time.monotonic() - self._clock

    def _save(self) -> None:
        """The main process alone writes: weights and optimiser are the same in all of them."""
        self.position.seconds, self._clock = self._elapsed(), time.monotonic()
        self._saved = self._clock
        if self.accelerator.is_main_process:
            state = {
                "model": self.accelerator.unwrap_model(self.network).state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "position": asdict(self.position),
                "best_weights": self.best_weights,
            }
            self.checkpoints.save(self.position.step, state)

    def _restore(self, optimizer: torch.optim.Optimizer) -> None:
        state = self.checkpoints.latest()
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
            optimizer.load_state_dict(state["optimizer"])
            self.position = Position(**state["position"])
            self.best_weights = state["best_weights"]


def schedule(step: int, warmup: int, total: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to 0 (arXiv 1608.03983, section 3)."""
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _moving_average(decay: float) -> Callable[[Weights, Weights, Tensor | int], None]:
    """Exponential moving average of the weights; the decay grows with the steps, so that the start is forgotten."""

    @torch.no_grad()
    def update(averaged: Weights, current: Weights, steps: Tensor | int) -> None:
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    return update


def _seed(*numbers: int) -> int:
    """One seed out of several numbers, well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
