"""Owns the training loop: updates, validation, early stopping, checkpoints.

Knows nothing of MLflow, files or terminals: it reports through a `Log`, and saves through Checkpoints.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..data.encoding import EncodedSplit
from ..plumbing.errors import Paused, UserError
from ..plumbing.interruption import Interruption
from ..plumbing.params import TrainSettings
from ..seq2seq.model import Seq2Seq
from .batching import Batch, Step, collate, micro_batches_per_step, plan_epoch, plan_in_order
from .checkpoint import Checkpoints
from .facts import ModelFacts
from .out_of_memory import explain_out_of_memory
from .position import Position
from .schedule import moving_average, schedule

Log = Callable[[dict[str, float], int], None]  # metrics, step
Score = Callable[[Seq2Seq], float]  # BLEU of the validation split, by free decoding
REPORT_EVERY = 10  # steps between two reports of the training loss

log = logging.getLogger(__name__)


@dataclass
class Trainer:
    settings: TrainSettings
    model: Seq2Seq
    train: EncodedSplit
    validation: EncodedSplit
    accelerator: Accelerator
    checkpoints: Checkpoints
    score: Score
    interruption: Interruption
    position: Position = field(default_factory=Position)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.averaged = AveragedModel(self.model, multi_avg_fn=moving_average(self.settings.ema_decay))
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.steps_per_epoch = len(self.plan(0))
        self._device = self.accelerator.device
        self._restore(optimizer)
        self.averaged.to(self._device)
        self.network, self.optimizer = self.accelerator.prepare(self.model, optimizer)

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * self.steps_per_epoch

    def fit(self, log: Log) -> None:
        """Train from where `position` stands until the last epoch, or until patience runs out.

        Raises Paused, with a checkpoint saved, when `interruption` asks any of the processes to stop.
        """
        self._log = log
        self._clock = self._saved = time.monotonic()
        self._reported = (self.position.tokens, self.position.seconds)
        while self.position.epoch < self.settings.epochs and not self._out_of_patience():
            steps = self.plan(self.position.epoch)
            while self.position.index < len(steps):
                is_asked_to_stop = self._update(steps[self.position.index])
                is_epoch_over = self.position.index == len(steps)  # validation, which comes next, may take long
                is_due = time.monotonic() - self._saved > self.settings.checkpoint_seconds
                if is_asked_to_stop or is_epoch_over or is_due:
                    self._save()
                if is_asked_to_stop:
                    self._pause()
            self._finish_epoch()

    def facts(self) -> ModelFacts:
        """Return what the model's manifest records of its training."""
        position = self.position
        return ModelFacts(
            validation_loss=position.best_loss,
            validation_bleu=position.best_bleu,
            best_epoch=position.best_epoch,
            epochs=position.epoch,
            steps=position.step,
            parameters=sum(p.numel() for p in self.model.parameters()),
            precision={"no": "fp32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision),
            skipped_steps=position.skipped,
        )

    def _update(self, step: Step) -> bool:
        """One optimiser step; returns whether any process was asked to stop.

        The loss is normalised by the tokens of all processes and micro-batches.
        """
        position = self.position
        rate = self.settings.learning_rate * schedule(position.step + 1, self.settings.warmup_steps, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = self._accumulate(step)
        norm = float(self.accelerator.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip))
        loss, stop = self._exchange(sum(parts.values()), float(self.interruption.reason is not None))
        if math.isfinite(loss) and math.isfinite(norm):  # the same numbers in every process, so the same answer
            self.optimizer.step()
            self.averaged.update_parameters(self.accelerator.unwrap_model(self.network))
            position.tokens += step.target_tokens
        else:
            self._skip(step, parts)
        self.optimizer.zero_grad()
        position.step, position.index = position.step + 1, position.index + 1
        if position.step % REPORT_EVERY == 0:
            self._report(loss, norm, rate)
        return stop > 0

    def _accumulate(self, step: Step) -> dict[int, float]:
        """Add up the gradient of this process's micro-batches; returns what each adds to the step's loss, by place."""
        self.network.train()
        processes = self.accelerator.num_processes
        share = step.share(self.accelerator.process_index, processes)
        parts: dict[int, Tensor] = {}
        for place, rows in share:
            is_last = place == share[-1][0]  # gradients are exchanged once a step
            batch = collate(self.train, rows)
            with (
                nullcontext() if is_last else self.accelerator.no_sync(self.network),
                explain_out_of_memory(batch, self.settings.micro_batch_tokens),
            ):
                part = self._loss(batch, place) / step.target_tokens
                # DDP averages over processes: times their number, so that the sum over all tokens is left
                self.accelerator.backward(part * processes)
            parts[place] = part.detach()
        return {place: float(part) for place, part in parts.items()}

    def _exchange(self, *numbers: float) -> list[float]:
        """Each number's sum over the processes."""
        if self.accelerator.num_processes == 1:
            return list(numbers)
        total = self.accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=self._device), "sum")
        return [float(number) for number in total]

    def _skip(self, step: Step, parts: dict[int, float]) -> None:
        """Leave a step out whose loss or gradient is not finite; UserError if no more may be."""
        bad = sorted(gather_object([place for place, part in parts.items() if not math.isfinite(part)]))
        rows = np.concatenate([step.micro_batches[place] for place in bad or range(len(step.micro_batches))])
        what, pairs = ("loss" if bad else "gradient"), ", ".join(map(str, sorted(rows)))
        number, epoch = self.position.step + 1, self.position.epoch + 1
        self.position.skipped += 1
        if self.position.skipped > self.settings.max_skipped_steps:
            raise UserError(
                f"the {what} of step {number} (epoch {epoch}) is not finite, of the pairs {pairs} of "
                "encoded/train.arrow; lower train.learning_rate, set train.precision: fp32, look at those pairs, "
                f"or let train.max_skipped_steps (now {self.settings.max_skipped_steps}) be left out"
            )
        if self.accelerator.is_main_process:
            log.warning(
                "train: step %d (epoch %d) is left out: its %s is not finite, of the pairs %s of encoded/train.arrow",
                *(number, epoch, what, pairs),
            )

    def _loss(self, batch: Batch, place: int) -> Tensor:
        """Summed loss of one micro-batch.

        The random numbers of its dropout depend on its place in the plan alone, not on the process that has it or on
        what was interrupted: this makes training the same on any number of processes, and resuming exact.
        """
        torch.manual_seed(_seed(self.settings.seed, self.position.step, place))
        batch = batch.to(self._device)
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
            self.best_weights = _copied(model.state_dict())
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
        total = torch.zeros((), device=self._device)
        for rows in plan[self.accelerator.process_index :: self.accelerator.num_processes]:
            batch = collate(self.validation, rows).to(self._device)
            total += model(batch.source, batch.lengths, batch.target)
        (loss,) = self._exchange(float(total))
        return loss / int(self.validation.target.lengths.sum())

    def _report(self, loss: float, norm: float, rate: float) -> None:
        tokens, seconds = self.position.tokens - self._reported[0], self._elapsed() - self._reported[1]
        self._reported = (self.position.tokens, self._elapsed())
        self._log(
            {
                "train/loss": loss,
                "train/gradient_norm": norm,
                "train/learning_rate": rate,
                "train/tokens_per_second": tokens / seconds,
            },
            self.position.step,
        )

    def plan(self, epoch: int) -> list[Step]:
        """The steps of an epoch, the same in every process."""
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
        self.position.processes, self._saved = self.accelerator.num_processes, self._clock
        if self.accelerator.is_main_process:
            state = {
                "model": self.accelerator.unwrap_model(self.network).state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "position": asdict(self.position),
                "best_weights": self.best_weights,
            }
            self.checkpoints.save(self.position.step, state)

    def _pause(self) -> None:
        # The exchange is also what the others wait in: one that left before the main one has saved would bring it down.
        reason = next(reason for reason in gather_object([self.interruption.reason]) if reason)
        raise Paused(
            f"train: stopped by {reason} after step {self.position.step:,} of {self.total_steps:,}; "
            "a checkpoint is saved"
        )

    def _restore(self, optimizer: torch.optim.Optimizer) -> None:
        state = self.checkpoints.latest()
        found = gather_object([state["position"]["step"] if state else 0])
        if len(set(found)) > 1:
            raise UserError(
                f"the processes found checkpoints of different steps: {', '.join(map(str, found))}; "
                f"all machines must see the same {self.checkpoints.directory}"
            )
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
            optimizer.load_state_dict(state["optimizer"])
            self.position = Position(**state["position"])
            self.best_weights = state["best_weights"]


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy in the processor's memory, in which tied weights are one tensor too, and one in a checkpoint."""
    copies = {tensor.data_ptr(): tensor.cpu().clone() for tensor in weights.values()}
    return {name: copies[tensor.data_ptr()] for name, tensor in weights.items()}


def _seed(*numbers: int) -> int:
    """One seed out of several numbers, well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
