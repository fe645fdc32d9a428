"""End a process with a message and a status that restarting it would not change.

One process prints its message itself. Of several, the first to end writes its message to a file, and the process that
started them (stages/launch.py) prints it once. Imports little: stages/elastic_worker.py looks at that file first.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

FAILED, PAUSED, INTERRUPTED = 2, 75, 130  # 75 is EX_TEMPFAIL of sysexits.h: try again
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
            os.link(mine, path)  # in one step, and only if no other process was first


def recorded_exit() -> ExitStatus | None:
    """Return what the first process to end has recorded; None if none has."""
    path = Path(os.environ[EXIT_FILE])
    return ExitStatus(**json.loads(path.read_bytes())) if path.exists() else None
