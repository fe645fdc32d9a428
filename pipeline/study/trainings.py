"""Train and evaluate the members of a study with Make, as many at once as there are cores.

The networks of a study are small, and gain little from a second core. Each computes with one thread, or with as many as
OMP_NUM_THREADS says.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from signal import SIGINT, SIGTERM, SIGUSR1
from threading import Lock
from types import FrameType

import joblib
import torch


def threads() -> int:
    """Return how many threads each training has."""
    return int(os.environ.get("OMP_NUM_THREADS") or 1)


def at_once() -> int:
    """Return how many trainings run at once: one on a GPU, or else as many as the cores that may be used."""
    if torch.cuda.is_available() or os.environ.get("NPROC", "1") != "1":
        return 1
    return max(1, int(joblib.cpu_count()) // threads())


class Trainings:
    """The trainings and evaluations of a study.

    After a signal, all are told to stop: a training saves a checkpoint, which takes a moment, and ends. Ctrl-C reaches
    them from the terminal. If one fails, the others are told to stop, too, and none is begun.
    """

    def __init__(self, make: str, options: Mapping[str, str]) -> None:
        """`options` has the options of Make, such as `EXP=dot DATA=study`, of each member, in the order of training."""
        self.make, self.options = make, options
        self.status = 0
        self.told = ""  # what failed
        self._running: list[subprocess.Popen[str]] = []
        self._lock = Lock()

    def run(self) -> int:
        """Bring all evaluations up to date. Return 0, or the exit status of the study."""
        number = at_once()
        first, *_ = self.options
        with self._signals_passed_on(), ThreadPoolExecutor(number) as pool:
            if number > 1:
                os.environ["OMP_NUM_THREADS"] = str(threads())
                self._make("encode", first)  # the others take its data
            list(pool.map(lambda name: self._make("evaluate", name), self.options))
        return self.status

    def _make(self, target: str, name: str) -> None:
        options = self.options[name]
        with self._lock:
            if self.status:
                return
            if target == "evaluate":
                print(f"study: {list(self.options).index(name) + 1} of {len(self.options)}: {name}", flush=True)
            child = subprocess.Popen(
                [self.make, target, *options.split()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            self._running.append(child)
        if self.status:  # the signal came before the child was in the list
            child.terminate()
        assert child.stdout is not None
        for line in child.stdout:
            print(f"{name}: {line}", end="", flush=True)
        if (status := child.wait()) and not self.told:
            self.told = f"make {target}{options} ended with status {status}"
            self._stop(status if status > 0 else 128 - status)
        self._running.remove(child)

    def _stop(self, status: int, *, tell: bool = True) -> None:
        """End with this status and begin no other training. `tell` those that run to stop, too."""
        self.status = self.status or status
        for child in list(self._running) if tell else ():
            child.terminate()  # also after SIGUSR1, which Make would not pass on

    @contextmanager
    def _signals_passed_on(self) -> Iterator[None]:
        def pass_on(received: int, frame: FrameType | None) -> None:
            self._stop(128 + received, tell=received != SIGINT)

        before = {number: signal.signal(number, pass_on) for number in (SIGINT, SIGTERM, SIGUSR1)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
