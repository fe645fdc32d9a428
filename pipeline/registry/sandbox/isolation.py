"""Choose how this system confines a program: file system, namespaces, environment and limits.

On a system without namespaces, only the environment and most limits hold. `isolation` reports this and the reason.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import psutil

from .confine import SYSTEM
from .system_calls import system_call_filter

CONFINE = "confine.py"
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))  # not that of the virtual environment
# The variables that a program gets. None of them holds a password, key or token.
ALLOWED = re.compile(
    r"PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|OMP_NUM_THREADS|MKL_NUM_THREADS|CUDA_VISIBLE_DEVICES|MALLOC_\w+"
)
ADDED = {"USER": "nobody", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
NOBODY = 65534  # user and group of a program that root starts

SANDBOX_MEMORY = min(8 << 30, psutil.virtual_memory().total // 2)  # bytes, for all processes of a program together
SANDBOX_THREADS = 512 + 8 * (os.cpu_count() or 1)  # for all processes of a program together
SANDBOX_SCRATCH = 256 << 20  # bytes; files that a program writes are kept in memory


@dataclass(frozen=True)
class Way:
    """A way to confine a program on this system."""

    runs: str
    unshare: Sequence[str]  # options of unshare(1)
    user: int | None  # the program's user; None for the user who started it

    @property
    def description(self) -> str:
        return f"isolated: {self.runs}, no network, files read-only, processes of its own"


AS_NOBODY = Way("as user nobody", (), NOBODY)
AS_USER = Way("in a user namespace", ("--map-root-user",), None)
PROBE_CODE = "import os, sys; [os.listdir(path) if os.path.isdir(path) else open(path).read() for path in sys.argv[1:]]"
SEPARATE = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
NOT_ISOLATED = (
    "not isolated: {obstacle}; review only packages that you trust, or run the review in a container or on a machine "
    "that holds no secrets, see docs/threat-model.md"
)


def isolation() -> str:
    """Return one line that says how programs are confined here."""
    way = find_way()
    return way.description if way else NOT_ISOLATED.format(obstacle=obstacle(_usual_way()))


def warn_if_not_isolated() -> None:
    """Print on standard error if a package is about to run with all rights of this user."""
    if not find_way():
        print(isolation(), file=sys.stderr)


def find_way() -> Way | None:
    """Return the way to confine a program that works on this system; None if none works."""
    way = _usual_way()
    return None if obstacle(way) else way


def _usual_way() -> Way:
    """Return the way for this user. Root gets no user namespace: programs would keep root's rights to files there."""
    return AS_NOBODY if os.geteuid() == 0 else AS_USER


@functools.cache
def obstacle(way: Way) -> str | None:
    """Run a program to find out why `way` does not work here. Return the reason; None if it works."""
    missing = [name for name in ("unshare", "setpriv") if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} of util-linux not found"
    needed = Path(psutil.__file__).parents[1], Path(__file__)
    with tempfile.TemporaryDirectory() as directory:
        command = shut_in(way, [PYTHON, "-I", "-S", "-c", PROBE_CODE, *map(str, needed)], needed, Path(directory))
        tried = subprocess.run(
            command,
            env=environment(Path(directory)),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if tried.returncode == 0:
        return None
    said = tried.stderr.split("\n")  # the last line of a traceback is its message
    return f"a test program, run {way.runs}, failed: {next(filter(None, reversed(said)), 'without a message')}"


def shut_in(way: Way | None, command: Sequence[str], read: Sequence[Path], directory: Path) -> list[str]:
    """Return the command that confines itself and then becomes the program. `directory` must be empty."""
    root, scratch = directory / "root", directory / "scratch"
    for path in (root, scratch):
        path.mkdir()
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": SANDBOX_SCRATCH}
    if not glob("/dev/nvidia[0-9]*"):  # CUDA maps more memory than it uses
        limits["RLIMIT_DATA"] = SANDBOX_MEMORY
    confine = Path(__file__).resolve().parent / CONFINE
    plan: dict[str, Any] = {"limits": limits, "root": None, "scratch": str(scratch), "command": list(command)}
    within: list[str] = []
    if way:
        setpriv, unshare = (os.path.realpath(shutil.which(name) or name) for name in ("setpriv", "unshare"))
        limits["RLIMIT_NPROC"] = SANDBOX_THREADS
        plan |= {
            "root": str(root),
            "scratch_bytes": SANDBOX_SCRATCH,
            "read": [PYTHON, *{f"{prefix}/lib" for prefix in (sys.base_prefix, sys.base_exec_prefix)}, *map(str, read)],
            "hidden": [str(path) for path in _private()],
            "user": way.user,
            "filter": system_call_filter().hex(),
        }
        # However this process ends, the program ends with it.
        within = [setpriv, "--pdeathsig=KILL", "--", unshare, *SEPARATE, *way.unshare, "--"]
    return [*within, PYTHON, "-I", "-S", "-B", str(confine), json.dumps(plan)]


def _private() -> set[Path]:
    """Return the user's home and the project. They may be inside directories that are shown."""
    found = {Path(path).resolve() for path in (os.path.expanduser("~"), os.getcwd(), Path(__file__).parents[2])}
    system = [Path(path).resolve() for path in SYSTEM]
    return {path for path in found if not any(member.is_relative_to(path) for member in system)}


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of a program whose scratch directory is in `directory`."""
    allowed = {name: value for name, value in os.environ.items() if ALLOWED.fullmatch(name)}
    return allowed | ADDED | dict.fromkeys(("HOME", "TMPDIR"), str(directory / "scratch"))
