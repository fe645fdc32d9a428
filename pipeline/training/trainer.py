"""Train a model: steps, validation after each epoch, early stopping, checkpoints, and stopping on request.

The code of the steps is in optimization.py, and that of the batches in plan.py and batching.py. The trainer reports
metrics through a `Log`.
"""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ..plumbing.errors import Paused, UserError
from ..plumbing.params import TrainSettings
from ..seq2seq.model import Seq2Seq
from .batching import TrainingData
from .checkpoint import Checkpoints, Position
from .facts import ModelFacts
from .optimization import Optimizer, Update
from .validation import Validation

Log = Callable[[dict[str, float], int], None]  # metrics, step
REPORT_EVERY = 10  # steps between two reports of the training loss
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # preemption, a scheduler's warning, Ctrl-C


class StopRequest:
    """A request to stop training cleanly, made by a signal or when `max_minutes` have passed.

    The trainer looks for it between two steps. A second Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self, max_minutes: float | None) -> None:
        self._received: signal.Signals | None = None
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._max_minutes = max_minutes
        for number in SIGNALS:
            signal.signal(number, self._receive)

    @property
    def reason(self) -> str | None:
        """The signal or setting that requested the stop; None if there is no request."""
        if self._received:
            return self._received.name
        if self._deadline is not None and time.monotonic() > self._deadline:
            return f"train.max_minutes ({self._max_minutes:g})"
        return None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)


@dataclass
class Trainer:
    """One training. It resumes from the newest checkpoint, and ends with the same weights as without interruptions."""

    settings: TrainSettings
    model: Seq2Seq
    data: TrainingData
    validation: Validation
    accelerator: Accelerator
    checkpoints: Checkpoints
    stop_request: StopRequest
    position: Position = field(default_factory=Position)
    best_weights: dict[str, Tensor] = field(default_factory=dict)  # moving averages after the best epoch

    def __post_init__(self) -> None:
        state = self._newest_state()
        self.optimizer = Optimizer(self.settings, self.model, self.data, self.total_steps, self.accelerator, state)
        if state is not None:
            self.position, self.best_weights = Position(**state["position"]), state["best_weights"]
        # While a GPU computes a step, the processor prepares the next one. A CPU does both.
        self.steps_ahead = 0 if self.accelerator.device.type == "cpu" else 1

    @property
    def steps_per_epoch(self) -> int:
        return self.data.plan.steps_per_epoch

    @property
    def total_steps(self) -> int:
        return self.settings.epochs * self.steps_per_epoch

    def fit(self, log: Log) -> None:
        """Train from `position` to the last epoch, or until `patience` epochs have brought no better BLEU.

        If a stop was requested in any process, save a checkpoint and raise Paused.
        """
        self._log = log
        self._clock = self._saved = time.monotonic()
        self._reported = (self.position.tokens, self.position.seconds)
        try:
            while self.position.epoch < self.settings.epochs and not self._out_of_patience():
                self._train_epoch()
                self._validate()
            self.checkpoints.wait()
        finally:
            self.checkpoints.finish()

    def facts(self) -> ModelFacts:
        """Return the facts of the finished training for the model's manifest."""
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

    def _train_epoch(self) -> None:
        """Make the remaining steps of the epoch. Save after the last step, on a stop request, and at intervals.

        All processes learn from a step's results whether one of them requested a stop, so all of them stop after the
        same step.
        """
        for step in self.data.steps(self.position.epoch, self.position.index):
            stop_requested = self.stop_request.reason is not None
            is_due = time.monotonic() - self._saved > self.settings.checkpoint_seconds
            self.checkpoints.check()
            self.optimizer.begin(step, self.position, stop_requested, is_due)
            is_epoch_over = self.position.index == self.steps_per_epoch  # validation comes next and may take long
            updates = self._finish(self.steps_ahead)
            if is_epoch_over or any(update.stop_requested or update.save_requested for update in updates):
                updates += self._finish(0)
                self._save()
            if any(update.stop_requested for update in updates):
                self._pause()

    def _finish(self, left: int) -> list[Update]:
        """Read and report the results of the steps that were begun, except for the last `left` of them."""
        updates = []
        while len(self.optimizer.begun) > left:
            update = self.optimizer.finish(self.position)
            if update.step % REPORT_EVERY == 0:
                self._report(update)
            updates.append(update)
        return updates

    def _validate(self) -> None:
        """Score the averaged weights, keep them if they are the best so far, and advance to the next epoch."""
        position = self.position
        model = self.optimizer.adamw.averaged.eval()
        loss, bleu = self.validation.loss(model), self.validation.bleu(model)
        entropy = {} if model.uses_fixed_vector else {"dev/attention_entropy": self.validation.attention_entropy(model)}
        position.epoch, position.index = position.epoch + 1, 0
        if position.is_best(bleu, loss):
            position.best_epoch, position.best_bleu, position.best_loss = position.epoch, bleu, loss
            self.best_weights = _copied(model.state_dict())
        self._log(
            {
                # On the validation split. MLflow sorts charts by name: dev/ comes first, then test/ and train/.
                "dev/loss": loss,
                "dev/perplexity": math.exp(min(loss, 50)),
                "dev/bleu": bleu,
                **entropy,
                "epoch": float(position.epoch),
            },
            position.step,
        )
        self._save()

    def _out_of_patience(self) -> bool:
        return self.position.epoch - self.position.best_epoch >= self.settings.patience

    def _report(self, update: Update) -> None:
        tokens, seconds = self.position.tokens - self._reported[0], self._elapsed() - self._reported[1]
        self._reported = (self.position.tokens, self._elapsed())
        self._log(
            {
                "train/loss": update.loss,
                "train/gradient_norm": update.gradient_norm,
                "train/learning_rate": update.learning_rate,
                "train/tokens_per_second": tokens / seconds,
            },
            update.step,
        )

    def _elapsed(self) -> float:
        """Return the seconds of training so far, without interruptions."""
        return self.position.seconds + time.monotonic() - self._clock

    def _save(self) -> None:
        """Save a checkpoint. Only the main process writes it: weights and optimiser are the same in all processes."""
        self.position.seconds, self._clock = self._elapsed(), time.monotonic()
        self.position.processes, self._saved = self.accelerator.num_processes, self._clock
        if self.accelerator.is_main_process:
            rest = {"position": asdict(self.position), "best_weights": self.best_weights}
            self.checkpoints.save(self.position.step, self.optimizer.adamw.state() | rest)

    def _pause(self) -> None:
        # All processes wait here for the main process, which saves first. If another process ended, it would fail.
        self.checkpoints.wait()
        reason = next(reason for reason in gather_object([self.stop_request.reason]) if reason)
        raise Paused(
            f"train: stopped by {reason} after step {self.position.step:,} of {self.total_steps:,}; "
            "a checkpoint is saved"
        )

    def _newest_state(self) -> dict[str, Any] | None:
        """Return the state of the newest checkpoint. Raise UserError unless all processes find the same checkpoint."""
        state = self.checkpoints.latest()
        found = gather_object([state["position"]["step"] if state else 0])
        if len(set(found)) > 1:
            raise UserError(
                f"the processes found checkpoints of different steps: {', '.join(map(str, found))}; "
                f"all machines must see the same {self.checkpoints.directory}"
            )
        return state


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of weights in main memory. Tied weights stay one tensor, so that a checkpoint stores them once."""
    copies = {tensor.data_ptr(): tensor.cpu().clone() for tensor in weights.values()}
    return {name: copies[tensor.data_ptr()] for name, tensor in weights.items()}
