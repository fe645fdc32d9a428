"""Run a module in several real processes."""

import os
import subprocess
import sys

from tests.project import ROOT


def start(processes: int, module: str, *arguments: object, stdin: bytes = b"") -> bytes:
    """Run a module in several processes on the CPU, as Make does, and return its standard output."""
    launcher = ["stages.launch", "--processes", str(processes)] if processes > 1 else []
    environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *launcher, module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
