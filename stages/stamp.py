"""Check the settings and bring the stamps up to date: STAMPS_DIRECTORY PARAMS_FILE...

Its makefile, checked.mk, tells Make when that was done last. Make includes it: so the stamps are right before Make
plans, even for `make -n`.
"""

import os
import sys
import time
from pathlib import Path

from pipeline.plumbing.command import RUN_SETTINGS, TARGETS, fail_clearly
from pipeline.plumbing.digests import is_settled
from pipeline.plumbing.params_file import read_params, settings_files
from pipeline.plumbing.stamps import write_run_settings, write_stamps
from pipeline.plumbing.watch import sources


def stamp() -> None:
    started = time.time_ns()  # what is edited from now on is checked again
    directory, *files = (Path(argument) for argument in sys.argv[1:])
    names = list(map(str, settings_files(files)))
    # What was written a moment ago may be written again without showing it in its times: it is looked at again.
    told_now = {name: told if is_settled(told) else None for name, told in sources(names).items()}
    artifacts = {stage: directory.parent / name for name, stage in TARGETS.items()}
    params = read_params(files)
    write_stamps(directory, params, artifacts, root=Path.cwd(), watched={"settings": names, "sources": told_now})
    write_run_settings(directory / RUN_SETTINGS, params)
    checked = directory / "checked.mk"
    checked.touch()
    os.utime(checked, ns=(started, started))


if __name__ == "__main__":
    fail_clearly(stamp)
