"""Remember the sha256 of files, and read a file again only if it has changed."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .artifacts import read_json, write_json
from .errors import UserError
from .watch import signature

# A second write within this time may leave a file with the same times, since the clocks of file systems are coarse.
CLOCK_STEP = 2 * 10**9  # ns
READ_ATTEMPTS = 3


class Digests:
    """The sha256 of files, kept in the file `memory` with the signature (see watch.py) of each."""

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        content = read_json(memory)
        self._before = content if isinstance(content, dict) else {}
        self.files: dict[str, dict[str, Any]] = {}  # name -> signature and sha256, of files given to sha256()

    def sha256(self, file: Path) -> str:
        """Return the sha256 of a file in hexadecimal. Raise UserError if the file keeps changing."""
        name = str(file)
        if name not in self.files:
            before: Any = self._before.get("files")
            known: Any = before.get(name) if isinstance(before, dict) else None
            self.files[name] = known if _is_of(known, name) else _digest_of(name)
        return str(self.files[name]["sha256"])

    def save(self, **more: Any) -> None:
        """Write to `memory` the files that `sha256` was called for, and the keys of `more`."""
        content = {**more, "files": self.files}
        if content != self._before:
            write_json(self.memory, content)


def is_settled(signature: Sequence[int], now: int = 0) -> bool:
    """Return whether the last change was so long ago that another change will change the signature."""
    return abs((now or time.time_ns()) - signature[2]) > CLOCK_STEP


def _is_of(known: Any, name: str) -> bool:
    return isinstance(known, dict) and "sha256" in known and known.get("signature") == signature(name)


def _digest_of(name: str) -> dict[str, Any]:
    for _ in range(READ_ATTEMPTS):
        begun = time.time_ns()
        before = signature(name)
        with open(name, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            is_the_same = os.fstat(file.fileno()).st_ino == before[3]
        if is_the_same and signature(name) == before:
            return {"signature": before if is_settled(before, begun) else None, "sha256": digest}
    raise UserError(f"{name} changes while it is read; wait until it is complete, and run the same command again")
