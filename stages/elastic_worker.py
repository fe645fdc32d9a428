"""One of the processes that stages/launch.py starts: STAGE_MODULE ARGUMENT...

The launcher starts all processes again when one dies. This module is in between because it is quick: after an end that
starting again would not mend, it leaves before anything large is imported.
"""

import os
import runpy
import signal
import sys
import threading
import time

from pipeline.plumbing.exit_status import FAILED, recorded_exit


def main() -> None:
    if recorded_exit():
        sys.exit(FAILED)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    sys.argv = sys.argv[1:]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except Exception as error:
        # For the launcher, which shows the first of those that ended the last attempt: when one process dies, the
        # others fail in the exchange that it is missing from.
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)
        sys.exit(1)


def _die_with(launcher: int) -> None:
    """A process that lost its launcher would train on, unseen, beside the one that is started in its place."""
    while os.getppid() == launcher:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
