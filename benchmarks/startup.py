"""Measure how long commands take before they work: imports, an up-to-date `make`, one translated sentence."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .figures import Figure, repeat

STAGES = ("download", "tokenizer", "encode", "train", "evaluate", "register", "translate")
SENTENCE = "A sentence of seven or eight words."


def measure_startup(experiment: str, repeats: int, root: Path) -> Iterator[Figure]:
    """Yield the seconds of each command, run in `root`, whose experiment must be complete."""
    make = ["make", "-s", f"EXP={experiment}"]
    commands = {
        "make, nothing to do": make,
        "make -s translate TEXT=...": [*make, "translate", f"TEXT={SENTENCE}"],
        **{f"import stages.{stage}": [sys.executable, "-c", f"import stages.{stage}"] for stage in STAGES},
    }
    # A make inside another one would read the variables of the outer one.
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    for what, command in commands.items():

        def seconds(command: list[str] = command) -> float:
            start = time.perf_counter()
            subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
            return time.perf_counter() - start

        yield Figure(what, "s", repeat(seconds, repeats))
