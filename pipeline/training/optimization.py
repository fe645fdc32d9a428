"""Make optimiser steps: learning rate, gradient over all processes, clipping, AdamW, moving average of the weights.

A GPU computes while the processor already prepares what comes next, as long as the processor asks for no result. So
`Optimizer.begin` only starts a step, and the results of a step are read while the GPU computes the next one.
"""

import logging
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import get_total_norm

from ..plumbing.errors import UserError
from ..plumbing.params import TrainSettings
from ..processes import sum_over_processes
from ..seq2seq.model import Seq2Seq
from ..seq2seq.scheduled_sampling import sampling_rate
from .batching import Batch, TrainingData
from .checkpoint import Position
from .plan import Step

BETAS, EPSILON = (0.9, 0.999), 1e-8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Update:
    """The result of one optimiser step, the same in every process."""

    step: int  # counted from 1, over all epochs
    loss: float  # nats for each target token, with label smoothing
    gradient_norm: float  # before clipping
    learning_rate: float
    stop_requested: bool  # in at least one process
    save_requested: bool  # in at least one process


@dataclass(frozen=True)
class _Begun:
    """A step that the device may still be computing."""

    step: Step
    number: int
    learning_rate: float
    results: Tensor  # (M + 3,): losses of the step's M micro-batches, stop and save requests, gradient norm
    arrived: torch.Event | None  # after this, the results are there

    @classmethod
    def copy(cls, step: Step, number: int, learning_rate: float, results: Tensor) -> "_Begun":
        """Start the copy of the results from the device."""
        if results.device.type == "cpu":
            return cls(step, number, learning_rate, results, None)
        copied, arrived = results.to("cpu", non_blocking=True), torch.Event(results.device.type)
        arrived.record()
        return cls(step, number, learning_rate, copied, arrived)

    def read(self) -> list[float]:
        if self.arrived is not None:
            self.arrived.synchronize()
        numbers: list[float] = self.results.tolist()
        return numbers


class AdamW:
    """Weights that AdamW updates (arXiv 1711.05101, algorithm 2), and their exponential moving average.

    `torch.optim.AdamW` computes the same, but it first imports torch's compiler, which takes two seconds.
    """

    def __init__(
        self, settings: TrainSettings, model: Seq2Seq, state: dict[str, Any] | None, device: torch.device
    ) -> None:
        """Resume from `state`, which an earlier `state()` returned. If it is None, start with `model`'s weights."""
        self.settings, self.model, self.averaged = settings, model, deepcopy(model)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
        self.weights: list[Tensor] = [*model.to(device).parameters()]
        self.averages: list[Tensor] = [*self.averaged.to(device).parameters()]
        # For each weight: moving averages of its gradient and of the gradient's square.
        self.means = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]
        self.updates = torch.zeros((), device=device)
        if state is not None:
            saved = [*state["means"], *state["squares"], state["updates"]]
            torch._foreach_copy_([*self.means, *self.squares, self.updates], saved)

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint needs to resume from here."""
        weights = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict()}
        return weights | {"means": self.means, "squares": self.squares, "updates": self.updates}

    @torch.no_grad()
    def update(self, learning_rate: float, gradient_norm: Tensor, loss: Tensor) -> None:
        """Update the weights and then their average; change nothing if the norm or the loss is not finite.

        A gradient that is longer than `gradient_clip` is shortened to it. The device decides all this, so the processor
        need not wait for it.
        """
        settings, gradients = self.settings, [weight.grad for weight in self.weights if weight.grad is not None]
        is_finite = (gradient_norm.isfinite() & loss.isfinite()).float()
        keep = average_decay(settings.ema_decay, self.updates)
        self.updates += is_finite
        torch._fused_adamw_(
            self.weights,
            gradients,
            self.means,
            self.squares,
            max_exp_avg_sqs=[],
            state_steps=[self.updates] * len(self.weights),
            lr=learning_rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=settings.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            grad_scale=(gradient_norm / settings.gradient_clip).clamp(min=1),  # gradients are divided by it
            found_inf=1 - is_finite,
        )
        torch._foreach_lerp_(self.averages, self.weights, [(1 - keep) * is_finite] * len(self.weights))


class Optimizer:
    """Makes steps of a training: from the pairs of a step to updated weights."""

    def __init__(
        self,
        settings: TrainSettings,
        model: Seq2Seq,
        data: TrainingData,
        total_steps: int,
        accelerator: Accelerator,
        state: dict[str, Any] | None,
    ) -> None:
        self.settings, self.data, self.total_steps, self.accelerator = settings, data, total_steps, accelerator
        self.adamw = AdamW(settings, model, state, accelerator.device)
        # The weights are on the device. Looking for weights that are not would import more of torch.
        self.network = accelerator.prepare(model, device_placement=[False])
        self.begun: deque[_Begun] = deque()  # steps whose results have not been read

    def begin(self, step: Step, position: Position, stop_requested: bool = False, save_requested: bool = False) -> None:
        """Let the device learn from one step, and advance `position`. `finish` returns the result.

        The loss is a mean over the target tokens of all processes and micro-batches. If the loss or the gradient is not
        finite, the weights do not change.
        """
        settings, count = self.settings, len(step.micro_batches)
        rate = settings.learning_rate * schedule(position.step + 1, settings.warmup_steps, self.total_steps)
        losses = self._accumulate(step, position.step)
        norm = get_total_norm([weight.grad for weight in self.adamw.weights if weight.grad is not None])
        # All numbers share one exchange, because each exchange makes all processes wait for the slowest. Each process
        # gives the losses of its own micro-batches, and zeros for the others.
        numbers = torch.zeros(count + 2, dtype=torch.float64, device=losses.device)
        numbers[self.accelerator.process_index : count : self.accelerator.num_processes] = losses
        numbers[-2].fill_(stop_requested)
        numbers[-1].fill_(save_requested)
        numbers = sum_over_processes(self.accelerator, numbers)
        self.adamw.update(rate, norm, numbers[:count].sum())
        self.network.zero_grad()
        position.step, position.index = position.step + 1, position.index + 1
        results = torch.cat([numbers, norm.double().unsqueeze(0)])
        self.begun.append(_Begun.copy(step, position.step, rate, results))

    def finish(self, position: Position) -> Update:
        """Wait for the oldest step that was begun, count its tokens in `position`, and return its result.

        Raise UserError if it is one of more than `max_skipped_steps` steps whose loss or gradient is not finite.
        """
        begun = self.begun.popleft()
        *losses, stops, saves, norm = begun.read()
        loss = sum(losses)
        if math.isfinite(loss) and math.isfinite(norm):
            position.tokens += begun.step.target_tokens
        else:
            self._skip(begun, losses, position)
        return Update(begun.number, loss, norm, begun.learning_rate, stops > 0, saves > 0)

    def _accumulate(self, step: Step, number: int) -> Tensor:
        """Add up the gradients of this process's micro-batches.

        Return the parts of the step's loss that they contribute, in the order of their places in the step.
        """
        self.network.train()
        processes = self.accelerator.num_processes
        share = step.share(self.accelerator.process_index, processes)
        tokens, losses = step.target_tokens, []
        for place, micro_batch in share:
            is_last = place == share[-1][0]  # processes exchange gradients once in a step
            batch = self.data.batch(micro_batch)
            with (
                nullcontext() if is_last else self.accelerator.no_sync(self.network),
                explain_out_of_memory(batch, self.settings.micro_batch_tokens),
            ):
                loss = self._loss(batch, number, place) / tokens
                # DDP divides the sum of the gradients by the number of processes; this factor undoes it.
                self.accelerator.backward(loss * processes)
            losses.append(loss.detach())
        return torch.stack(losses).double()

    def _loss(self, batch: Batch, step: int, place: int) -> Tensor:
        """Return the summed loss of one micro-batch.

        The seed of its dropout depends on the step and on the micro-batch's place in it. It depends neither on the
        process nor on earlier random numbers. So training is the same on any number of processes, and resuming is
        exact.
        """
        device = self.accelerator.device
        sampling = sampling_rate(self.settings, step + 1, self.total_steps)
        _set_seed(_seed(self.settings.seed, step, place), device)
        batch = batch.to(device)
        with self.accelerator.autocast():
            loss: Tensor = self.network(
                batch.source, batch.lengths, batch.target, batch.real, self.settings.label_smoothing, sampling
            )
        return loss

    def _skip(self, begun: _Begun, losses: list[float], position: Position) -> None:
        """Count and report a step whose loss or gradient is not finite. Raise UserError if there are too many steps."""
        micro_batches = begun.step.micro_batches
        bad = [each for each, loss in zip(micro_batches, losses, strict=True) if not math.isfinite(loss)]
        what, pairs = ("loss" if bad else "gradient"), self.data.describe(bad or micro_batches)
        epoch, limit = position.epoch + 1, self.settings.max_skipped_steps
        position.skipped += 1
        if position.skipped > limit:
            raise UserError(
                f"the {what} of step {begun.number} (epoch {epoch}) is not finite; the pairs of the step are in "
                f"{pairs}; lower train.learning_rate, set train.precision: fp32, check those "
                f"pairs, or skip more such steps with train.max_skipped_steps (now {limit})"
            )
        if self.accelerator.is_main_process:
            log.warning(
                "train: skipped step %d (epoch %d): its %s is not finite; its pairs are in %s",
                *(begun.number, epoch, what, pairs),
            )


def schedule(step: int, warmup: int, total: int) -> float:
    """Return the factor of the learning rate in `step`, counted from 1.

    The factor rises linearly to 1 in `warmup` steps, then falls to 0 like half a cosine (arXiv 1608.03983, section 3).
    """
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def check_warmup(warmup: int, epochs: int, steps_per_epoch: int) -> None:
    """Raise UserError if training ends before the warm-up does."""
    total = epochs * steps_per_epoch
    if warmup >= total:
        raise UserError(
            f"train.warmup_steps: got {warmup}, but training has {total} steps ({epochs} epochs of {steps_per_epoch}); "
            f"set it to about {total // 10}, and raise train.epochs: a model needs thousands of steps"
        )


def average_decay(decay: float, updates: Tensor) -> Tensor:
    """Return the decay of the moving average in its next update, after n = `updates`: min(decay, (1 + n) / (10 + n)).

    TensorFlow's ExponentialMovingAverage does the same. The decay is smaller at first, so that the average soon forgets
    the initial weights.
    """
    return ((1 + updates) / (10 + updates)).clamp(max=decay)


@contextmanager
def explain_out_of_memory(batch: Batch, micro_batch_tokens: int) -> Iterator[None]:
    """Raise UserError, with the shape of `batch`, if memory runs out in this block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # The CPU allocator raises a plain RuntimeError.
        is_shortage = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not is_shortage:
            raise
        pairs, source, target = *batch.source.shape, batch.target.shape[1]
        raise UserError(
            f"out of memory with a micro-batch of {pairs} pairs, {source} source and {target} target tokens long: "
            f"{str(error).splitlines()[0]}; lower train.micro_batch_tokens (now {micro_batch_tokens}) "
            "or encode.max_tokens"
        ) from error


def _set_seed(seed: int, device: torch.device) -> None:
    """Seed the random numbers of `device`. torch.manual_seed takes 0.2 ms, because it seeds all kinds of them."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _seed(*numbers: int) -> int:
    """Return one seed made of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
