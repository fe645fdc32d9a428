"""Owns how a process's end is told: by itself, or, where it is one of several, once by the one that started them.

Imports next to nothing: a process that is started again after a failure for good looks here first (elastic_worker.py).
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

FAILED, PAUSED, INTERRUPTED = 2, 75, 130  # exit statuses; 75 is EX_TEMPFAIL of sysexits.h: try again
VARIABLE = (
    "PIPELINE_EXIT_STATUS"  # names the file in which the first of several processes to end early leaves its reason
)


@dataclass(frozen=True)
class ExitStatus:
    """An end that starting again would not mend."""

    status: int
    message: str

    def end(self) -> NoReturn:
        """Tell it and leave. Of several processes the first alone is heard."""
        if path := os.environ.get(VARIABLE):
            self._leave(Path(path))
        else:
            print(self.message, file=sys.stderr)
        sys.exit(self.status)

    def _leave(self, path: Path) -> None:
        mine = path.with_name(f"{path.name}.{os.getpid()}")
        mine.write_text(json.dumps(asdict(self)), encoding="utf-8")
        with suppress(FileExistsError):
            os.link(mine, path)  # whole, and only if there is none yet


def recorded_exit() -> ExitStatus | None:
    """What one of the processes has left; None while none has."""
    path = Path(os.environ[VARIABLE])
    return ExitStatus(**json.loads(path.read_bytes())) if path.exists() else None
