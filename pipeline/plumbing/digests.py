"""Remember the sha256 of files, and read again only those that have changed since."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .artifacts import read_json, write_json
from .errors import UserError
from .watch import signature

# A file that was written so shortly before it was read may be written again without showing it in its times.
SETTLED = 2 * 10**9  # ns; the longest step of a file system's clock
TRIES = 3


class Digests:
    """The sha256 of files, kept in the file `memory` with what tells that they are unchanged."""

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        content = read_json(memory)
        self._before = content if isinstance(content, dict) else {}
        self.files: dict[str, dict[str, Any]] = {}  # those asked for: name -> signature and sha256

    def sha256(self, file: Path) -> str:
        """Hex sha256 of a file's bytes; UserError if it does not hold still."""
        name = str(file)
        if name not in self.files:
            before: Any = self._before.get("files")
            known: Any = before.get(name) if isinstance(before, dict) else None
            self.files[name] = known if _is_of(known, name) else _read(name)
        return str(self.files[name]["sha256"])

    def save(self, **more: Any) -> None:
        """Write the memory, of the files that were asked for and with `more` beside them."""
        content = {**more, "files": self.files}
        if content != self._before:
            write_json(self.memory, content)


def is_settled(told: Sequence[int], now: int = 0) -> bool:
    """Whether a file with this signature was left alone long enough that another change of it would show."""
    return abs((now or time.time_ns()) - told[2]) > SETTLED


def _is_of(known: Any, name: str) -> bool:
    return isinstance(known, dict) and "sha256" in known and known.get("signature") == signature(name)


def _read(name: str) -> dict[str, Any]:
    for _ in range(TRIES):
        begun = time.time_ns()
        before = signature(name)
        with open(name, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            is_the_same = os.fstat(file.fileno()).st_ino == before[3]
        if is_the_same and signature(name) == before:
            return {"signature": before if is_settled(before, begun) else None, "sha256": digest}
    raise UserError(f"{name} changes while it is read; wait until it is whole, and run the same again")
