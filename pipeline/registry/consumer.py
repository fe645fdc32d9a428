"""Owns a consumer of a packaged model: a process of its own that loads it as any user would, and translates on request.

It sees the distributions that the model requires, what these require, and nothing else: neither this project nor what
else is installed. Two models in two consumers share no code (MLflow would give both the code of the first).
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..plumbing.errors import UserError

HERE = Path(__file__).resolve().parent
CONSUME = "consume.py"
LOUD = 10  # lines of a failure that are shown
PATIENCE = 600.0  # seconds for an answer, loading included


@dataclass(frozen=True)
class Consumer:
    """A running consumer."""

    name: str  # of the model, for errors
    _process: subprocess.Popen[str]
    _errors: IO[str]

    def translate(self, sentences: Sequence[str], **params: Any) -> tuple[list[Any], float]:
        """The model's predictions, and the seconds that they took; without params as the model has them by default.

        UserError, with the last lines of what the process said, if it does not load or fails.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(json.dumps({"sentences": list(sentences), "params": params}), file=self._process.stdin, flush=True)
            with _killed_after(PATIENCE, self._process):
                answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            said = "".join(self._errors.readlines()[-LOUD:])
            raise UserError(
                f"{self.name} does not load and translate in a fresh process within {PATIENCE:g} s:\n{said}"
            )
        told = json.loads(answer)
        return told["predictions"], told["seconds"]


@contextmanager
def _killed_after(seconds: float, process: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill the process if this block is not left in time."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def consume(uri: str, requirements: Path, name: str) -> Iterator[Consumer]:
    """A consumer of the model at `uri`, a directory or `models:/x@alias`, that sees what `requirements` lists.

    Errors call the model `name`.
    """
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        home, seen = Path(scratch) / "home", Path(scratch) / "requirements"
        home.mkdir()
        link_requirements(requirements, seen)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(HERE / CONSUME), str(seen), uri],
            cwd=home,
            env=environment | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        try:
            yield Consumer(name, process, errors)
        finally:
            process.kill()
            process.communicate()


def link_requirements(requirements: Path, directory: Path) -> None:
    """Make a directory for sys.path with the installed distributions that `requirements` need, as links.

    UserError where one is not installed here in a version that is asked for.
    """
    directory.mkdir()
    lines = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    waiting = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        distribution = _installed(wanted, requirements)
        for extra in {"", *wanted.extras}:
            if (canonicalize_name(wanted.name), extra) not in found:
                found.add((canonicalize_name(wanted.name), extra))
                waiting += _required(distribution, extra)
        _link(distribution, directory)


def _installed(wanted: Requirement, requirements: Path) -> metadata.Distribution:
    try:
        distribution = metadata.distribution(wanted.name)
    except metadata.PackageNotFoundError:
        here = "is not installed here"
    else:
        if wanted.specifier.contains(distribution.version, prereleases=True):
            return distribution
        here = f"{distribution.version} is installed here"
    raise UserError(
        f"the model needs {wanted}, but {here}; work in an environment made with: pip install -r {requirements.name}"
    )


def _required(distribution: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _link(distribution: metadata.Distribution, directory: Path) -> None:
    """Link what a distribution has at the top of site-packages; several may share a directory there."""
    site = Path(str(distribution.locate_file(""))).resolve()
    for name in {file.parts[0] for file in distribution.files or [] if len(file.parts) > 0}:
        if name not in ("..", "__pycache__") and not (directory / name).exists():
            (directory / name).symlink_to(site / name)
