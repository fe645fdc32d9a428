"""Record the versions of libraries and the machine that a stage ran with. They are not part of a digest."""

import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .imports import distributions


def made_with(code: Iterable[str]) -> dict[str, Any]:
    """Return the versions of Python and of the libraries that the `code` files import, and the processor."""
    versions = distributions([file for name in code if (file := Path(name)).is_file()])
    return {
        "libraries": {"python": platform.python_version(), **versions},
        "machine": {"system": sys.platform, "processor": processor()},
    }


def changed_libraries(recorded: Mapping[str, Any]) -> Iterator[str]:
    """Yield `torch 2.13.0, now 2.14.0` for each library that is now installed in another version."""
    for name, version in recorded.get("libraries", {}).items():
        now = _version(name)
        if now != version:
            yield f"{name} {version}, now {now or 'not installed'}"


def _version(name: str) -> str | None:
    try:
        return platform.python_version() if name == "python" else metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """Return the architecture, and the model of the processor if the system knows it."""
    return " ".join(filter(None, [platform.machine(), _cpuinfo("model name")]))


def vendor() -> str:
    """Return the maker of the processor, such as AuthenticAMD, or nothing if the system does not know it."""
    return _cpuinfo("vendor_id")


def _cpuinfo(field: str) -> str:
    """Return what Linux says about the first processor, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
