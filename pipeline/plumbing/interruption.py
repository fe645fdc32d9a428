"""Owns the wish to end training early: a signal of the machine's or the user's, or the wall clock."""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # preemption, a scheduler's warning, Ctrl-C


class Interruption:
    """Asked between two steps. A second Ctrl-C acts at once, as if this were not here."""

    def __init__(self, max_minutes: float | None) -> None:
        self._received: signal.Signals | None = None
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._max_minutes = max_minutes
        for number in SIGNALS:
            signal.signal(number, self._receive)

    @property
    def reason(self) -> str | None:
        """What asked for the end; None while nothing has."""
        if self._received:
            return self._received.name
        if self._deadline is not None and time.monotonic() > self._deadline:
            return f"train.max_minutes ({self._max_minutes:g})"
        return None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
