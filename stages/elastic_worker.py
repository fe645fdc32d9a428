"""Run a stage in one of the processes that stages/launch.py starts: STAGE_MODULE ARGUMENT...

The launcher restarts all processes when one fails. If a restart cannot help, this module then exits at once, before it
imports anything large.
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
    threading.Thread(target=_exit_with, args=(os.getppid(),), daemon=True).start()
    sys.argv = sys.argv[1:]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except Exception as error:
        # The launcher shows the first error of the last attempt. When one process fails, the others fail soon after
        # it, because they cannot exchange data with it.
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)
        sys.exit(1)


def _exit_with(launcher: int) -> None:
    """Kill this process when its launcher has died. Otherwise it would continue to train beside its replacement."""
    while os.getppid() == launcher:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
