"""End a process with a message and an exit status, in cases where restarting the process would not help.

A single process prints its message itself. If there are several processes, the first that ends writes its message to a
file, and the process that started them (stages/launch.py) prints it once. This module imports little, because
stages/elastic_worker.py reads the file before anything else.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

FAILED, PAUSED, INTERRUPTED = 2, 75, 130  # 75 is EX_TEMPFAIL of sysexits.h, "try again"
EXIT_FILE = "PIPELINE_EXIT_STATUS"  # the variable with the path of that file


@dataclass(frozen=True)
class ExitStatus:
    """How a process ends, if restarting it would not help."""

    status: int
    message: str

    def end(self) -> NoReturn:
        """Print or record the message, and exit."""
        if path := os.environ.get(EXIT_FILE):
            self._record(Path(path))
        else:
            print(self.message, file=sys.stderr)
        sys.exit(self.status)

    def _record(self, path: Path) -> None:
        mine = path.with_name(f"{path.name}.{os.getpid()}")
        mine.write_text(json.dumps(asdict(self)), encoding="utf-8")
        with suppress(FileExistsError):
            os.link(mine, path)  # in one step, and only if no other process has done so


def recorded_exit() -> ExitStatus | None:
    """Return what the first process that ended has recorded; None if no process has."""
    path = Path(os.environ[EXIT_FILE])
    return ExitStatus(**json.loads(path.read_bytes())) if path.exists() else None
