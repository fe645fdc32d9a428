"""Show the progress of training: a bar in a terminal, and elsewhere a line every 30 seconds."""

import sys
import time

from tqdm import tqdm

PLAIN_SECONDS = 30.0  # between two lines, without a terminal


class Progress:
    """Shows the metrics that training reports."""

    def __init__(self, done: int, total: int) -> None:
        """Begin at step `done` of `total`, where an interrupted training continues."""
        self.bar = tqdm(total=total, initial=done, unit=" steps", desc="train", disable=None, file=sys.stderr)
        self.begun, self.done, self.total = time.monotonic(), done, total
        self.said = self.begun

    def show(self, metrics: dict[str, float], step: int) -> None:
        if "validation/bleu" in metrics:
            self._line(
                f"train: epoch {metrics['epoch']:.0f}: validation loss {metrics['validation/loss']:.3f}, "
                f"BLEU {metrics['validation/bleu']:.1f}"
            )
        elif self.bar.disable and time.monotonic() - self.said > PLAIN_SECONDS:
            self.said = time.monotonic()
            left = (self.said - self.begun) / max(1, step - self.done) * (self.total - step)
            self._line(
                f"train: step {step:,} of {self.total:,}, {_state(metrics)}, at most {left / 60:.0f} minutes left"
            )
        elif not self.bar.disable and "train/loss" in metrics:
            self.bar.set_postfix_str(_state(metrics), refresh=False)
            self.bar.update(step - self.bar.n)

    def close(self) -> None:
        self.bar.close()

    def _line(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


def _state(metrics: dict[str, float]) -> str:
    return f"loss {metrics['train/loss']:.3f}, {metrics['train/tokens_per_second']:,.0f} tokens/s"
