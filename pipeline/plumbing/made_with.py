"""Record what a stage was run with: the libraries' versions and the machine. No part of an artifact's digest."""

import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .imports import distributions


def made_with(code: Iterable[str]) -> dict[str, Any]:
    """Versions of Python and of the libraries that the stage's files import, and the processor."""
    versions = distributions([file for name in code if (file := Path(name)).is_file()])
    return {
        "libraries": {"python": platform.python_version(), **versions},
        "machine": {"system": sys.platform, "processor": _processor()},
    }


def changed_libraries(recorded: Mapping[str, Any]) -> Iterator[str]:
    """`torch 2.13.0, now 2.14.0` for each library of which another version is installed now."""
    for name, version in recorded.get("libraries", {}).items():
        now = _version(name)
        if now != version:
            yield f"{name} {version}, now {now or 'not installed'}"


def _version(name: str) -> str | None:
    try:
        return platform.python_version() if name == "python" else metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Architecture, and the model where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return " ".join([platform.machine(), *models[:1]])
