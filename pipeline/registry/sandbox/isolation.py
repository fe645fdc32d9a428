"""How this system shuts a program in: the file system, the namespaces, the environment and the limits that it gets.

Where it offers no namespaces, the environment and most limits hold alone; `isolation` says so, and why.
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
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))  # the one that a virtual environment is of
# All that a program is given of the environment: no password, key or token is in these.
ALLOWED = re.compile(
    r"PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|OMP_NUM_THREADS|MKL_NUM_THREADS|CUDA_VISIBLE_DEVICES|MALLOC_\w+"
)
ADDED = {"USER": "nobody", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
NOBODY = 65534  # the user and the group of a program that root runs

MEMORY = min(8 << 30, psutil.virtual_memory().total // 2)  # bytes, of all processes of a program together
TASKS = 512 + 8 * (os.cpu_count() or 1)  # threads, of all its processes together
SCRATCH = 256 << 20  # bytes; what it writes lies in memory


@dataclass(frozen=True)
class Way:
    """How this system shuts a program in."""

    runs: str
    unshare: Sequence[str]  # options of unshare(1)
    user: int | None  # that the program runs as; None: as whoever started it

    @property
    def told(self) -> str:
        return f"isolated: {self.runs}, no network, files read-only, processes of its own"


AS_NOBODY = Way("as user nobody", (), NOBODY)
AS_USER = Way("in a user namespace", ("--map-root-user",), None)
TRIAL = "import os, sys; [os.listdir(path) if os.path.isdir(path) else open(path).read() for path in sys.argv[1:]]"
SEPARATE = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
NOT_ISOLATED = (
    "not isolated: {obstacle}; review only packages that you trust, or run the review in a container or on a machine "
    "that holds no secrets, see docs/threat-model.md"
)


def isolation() -> str:
    """How programs are shut in here, in a line."""
    way = find_way()
    return way.told if way else NOT_ISOLATED.format(obstacle=obstacle(_usual_way()))


def warn() -> None:
    """Say on standard error that a package is about to run with all rights of this user, where that is so."""
    if not find_way():
        print(isolation(), file=sys.stderr)


def find_way() -> Way | None:
    """How this system does shut a program in; None where it cannot."""
    way = _usual_way()
    return None if obstacle(way) else way


def _usual_way() -> Way:
    """Never a user namespace under root: in one, root's programs keep its rights to every file that they see."""
    return AS_NOBODY if os.geteuid() == 0 else AS_USER


@functools.cache
def obstacle(way: Way) -> str | None:
    """Why a program that is shut in so cannot read the libraries and the project; None if it can."""
    missing = [name for name in ("unshare", "setpriv") if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} of util-linux not found"
    needed = Path(psutil.__file__).parents[1], Path(__file__)
    with tempfile.TemporaryDirectory() as directory:
        command = shut_in(way, [PYTHON, "-I", "-S", "-c", TRIAL, *map(str, needed)], needed, Path(directory))
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
    said = tried.stderr.split("\n")  # the last line of a traceback tells what it is about
    return f"a program that was to run {way.runs} said: {next(filter(None, reversed(said)), 'nothing')}"


def shut_in(way: Way | None, command: Sequence[str], read: Sequence[Path], directory: Path) -> list[str]:
    """The command that shuts a program in and becomes it; `directory` is empty."""
    root, scratch = directory / "root", directory / "scratch"
    for path in (root, scratch):
        path.mkdir()
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": SCRATCH}
    if not glob("/dev/nvidia[0-9]*"):  # CUDA maps more than it uses
        limits["RLIMIT_DATA"] = MEMORY
    confine = Path(__file__).resolve().parent / CONFINE
    plan: dict[str, Any] = {"limits": limits, "root": None, "scratch": str(scratch), "command": list(command)}
    within: list[str] = []
    if way:
        setpriv, unshare = (os.path.realpath(shutil.which(name) or name) for name in ("setpriv", "unshare"))
        limits["RLIMIT_NPROC"] = TASKS
        plan |= {
            "root": str(root),
            "scratch_bytes": SCRATCH,
            "read": [PYTHON, *{f"{prefix}/lib" for prefix in (sys.base_prefix, sys.base_exec_prefix)}, *map(str, read)],
            "hidden": [str(path) for path in _private()],
            "user": way.user,
            "filter": system_call_filter().hex(),
        }
        # Nothing outlives this process, however it ends.
        within = [setpriv, "--pdeathsig=KILL", "--", unshare, *SEPARATE, *way.unshare, "--"]
    return [*within, PYTHON, "-I", "-S", "-B", str(confine), json.dumps(plan)]


def _private() -> set[Path]:
    """Directories of the user's, which may lie in what is shown: a home, if there is one, and the project."""
    found = {Path(path).resolve() for path in (os.path.expanduser("~"), os.getcwd(), Path(__file__).parents[2])}
    system = [Path(path).resolve() for path in SYSTEM]
    return {path for path in found if not any(member.is_relative_to(path) for member in system)}


def environment(directory: Path) -> dict[str, str]:
    allowed = {name: value for name, value in os.environ.items() if ALLOWED.fullmatch(name)}
    return allowed | ADDED | dict.fromkeys(("HOME", "TMPDIR"), str(directory / "scratch"))
