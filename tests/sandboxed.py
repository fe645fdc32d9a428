"""Programs in a sandbox, with each way to confine them that this system offers."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.registry.sandbox import isolation
from pipeline.registry.sandbox.isolation import AS_NOBODY, AS_USER, PYTHON
from pipeline.registry.sandbox.process import Misbehaviour, SandboxedProcess, run_sandboxed

NAMES = {"nobody": AS_NOBODY, "namespace": AS_USER}
WAYS = [pytest.param(way, id=name) for name, way in NAMES.items() if not isolation.obstacle(way)]
CLONE = {"x86_64": 56, "aarch64": 220}  # the system call
NONE = pytest.param(None, id="none")
SKIPPED = pytest.param(None, id="none", marks=pytest.mark.skip(reason="this system offers no namespaces"))
isolated = pytest.mark.parametrize("way", WAYS or [SKIPPED], indirect=True)
both = pytest.mark.parametrize("way", [*WAYS[:1], NONE], indirect=True)


@contextlib.contextmanager
def program(code: str, *read: Path) -> Iterator[SandboxedProcess]:
    """A running program with everything that the programs of these tests need."""
    begin = "import json, os, socket, subprocess, sys, time; sys.stdin.readline()\n"
    with run_sandboxed("it", [PYTHON, "-I", "-S", "-c", begin + code], read) as running:
        yield running


def told(code: str, *read: Path) -> object:
    """Return the value of an expression inside the sandbox, or the name of the error that it raises."""
    lines = (
        f"try:\n  found = {code}\nexcept Exception as error:\n  found = type(error).__name__\nprint(json.dumps(found))"
    )
    with program(lines, *read) as running:
        return json.loads(running.ask(b"", 30))


def reason(code: str, seconds: float = 30) -> str:
    with program(code) as running, pytest.raises(Misbehaviour) as caught:
        running.ask(b"", seconds)
    return caught.value.reason


def alive(marker: str) -> list[int]:
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(marker in argument for argument in each.cmdline()) and each.pid != os.getpid():
                found.append(each.pid)
    return found


def running(code: str) -> bool:
    """Return whether a program has begun to run its own code."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.cmdline()[-1:] == [code]:
                return True
    return False
