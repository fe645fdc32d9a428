"""Show the progress of training and the time left: a bar in a terminal, or else a line every 30 seconds."""

import sys
import time

from tqdm import tqdm

PLAIN_SECONDS = 30.0  # between two lines, without a terminal


class Progress:
    """Shows the metrics that training reports."""

    def __init__(self, done: int, total: int, steps_per_epoch: int) -> None:
        """Begin at step `done` of `total`. It is above 0 if an interrupted training continues."""
        self.bar = tqdm(total=total, initial=done, unit=" steps", desc="train", disable=None, file=sys.stderr)
        self.total = total
        self.clock = Clock(total, steps_per_epoch)
        self.said = time.monotonic()

    def show(self, metrics: dict[str, float], step: int) -> None:
        """Show the metrics that the trainer logs after `step`."""
        first = self.clock.left(step) is None
        is_validation = "dev/bleu" in metrics
        self.clock.tick(step, is_validation)
        left = self.clock.left(step)
        if is_validation:
            self._line(
                f"train: epoch {metrics['epoch']:.0f}: validation loss {metrics['dev/loss']:.3f}, "
                f"BLEU {metrics['dev/bleu']:.1f}{_told(left if step < self.total else None)}"
            )
            return
        if first and left is not None:
            self._line(f"train: {self.total - step:,} steps left, {duration(left)} at most, validation not counted")
        if not self.bar.disable:
            self.bar.set_postfix_str(_state(metrics), refresh=False)
            self.bar.update(step - self.bar.n)
        elif time.monotonic() - self.said > PLAIN_SECONDS:
            self.said = time.monotonic()
            self._line(f"train: step {step:,} of {self.total:,}, {_state(metrics)}{_told(left)}")

    def close(self) -> None:
        self.bar.close()

    def _line(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


class Clock:
    """Measures the time of a step and of a validation, and estimates the time that is left.

    The steps until the first tick are not measured. They are slower, because they allocate memory and start threads.
    """

    def __init__(self, total: int, steps_per_epoch: int) -> None:
        self.total, self.steps_per_epoch = total, steps_per_epoch
        self.last: tuple[float, int] | None = None  # time and step of the last tick
        self.steps, self.step_seconds = 0, 0.0
        self.validations, self.validation_seconds = 0, 0.0

    def tick(self, step: int, is_validation: bool) -> None:
        """Record that `step`, or the validation after it, is done."""
        now = time.monotonic()
        if self.last is not None:
            seconds, steps = now - self.last[0], step - self.last[1]
            if is_validation and self.steps:
                stepping = min(seconds, steps * self.step_seconds / self.steps)
                self.validations += 1
                self.validation_seconds += seconds - stepping
            elif not is_validation:
                self.steps += steps
                self.step_seconds += seconds
        self.last = now, step

    def left(self, step: int) -> float | None:
        """Estimate the seconds until the last epoch ends; None before anything was measured."""
        if not self.steps:
            return None
        seconds = (self.total - step) * self.step_seconds / self.steps
        if self.validations:
            seconds += -(-(self.total - step) // self.steps_per_epoch) * self.validation_seconds / self.validations
        return seconds


def duration(seconds: float) -> str:
    """Describe a time: less than 1 min, about 11 min, about 2 h 5 min."""
    if seconds < 60:
        return "less than 1 min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min"


def _told(left: float | None) -> str:
    return "" if left is None else f", {duration(left)} left at most"


def _state(metrics: dict[str, float]) -> str:
    return f"loss {metrics['train/loss']:.3f}, {metrics['train/tokens_per_second']:,.0f} tokens/s"
