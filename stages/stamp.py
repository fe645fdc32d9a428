"""Check the settings and update the stamps: STAMPS_DIRECTORY PARAMS_FILE...

The Makefile includes stamps/checked.mk, an empty file with the time of the last check. Make updates included files
before it plans, so the stamps are right even for `make -n`.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.plumbing.command import RUN_SETTINGS, TARGETS, fail_clearly
from pipeline.plumbing.digests import is_settled
from pipeline.plumbing.params_file import files_read, read_params
from pipeline.plumbing.stamps import write_run_settings, write_stamps
from pipeline.plumbing.watch import sources


def stamp() -> None:
    directory, *files = (Path(argument) for argument in sys.argv[1:])
    bring_up_to_date(directory, files)


def bring_up_to_date(directory: Path, files: Sequence[Path]) -> None:
    """Write the stamps of an experiment with the settings in `files`. Raise UserError if the settings are wrong."""
    started = time.time_ns()  # a file that is edited after this is checked again
    # A file that was written a moment ago may change again while its times stay the same. So its signature is not kept.
    names = list(map(str, files_read(files)))
    found = {name: told if is_settled(told) else None for name, told in sources(names).items()}
    artifacts = {stage: directory.parent / name for name, stage in TARGETS.items()}
    params = read_params(files)
    write_stamps(directory, params, artifacts, root=Path.cwd(), watched={"settings": names, "sources": found})
    write_run_settings(directory / RUN_SETTINGS, params)
    checked = directory / "checked.mk"
    checked.touch()
    os.utime(checked, ns=(started, started))


if __name__ == "__main__":
    fail_clearly(stamp)
