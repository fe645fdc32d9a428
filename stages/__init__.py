"""The commands of the pipeline. A stage opens its inputs, calls the library in `pipeline`, and publishes its output."""

import os
import signal
import sys
from types import FrameType

from pipeline.plumbing.environment import prepare_environment


def _leave(signum: int, frame: FrameType | None) -> None:
    os.write(sys.stderr.fileno(), b"interrupted\n")
    os._exit(128 + signum)


# `python -m stages.train` imports this package first. The imports of stages.train then take seconds. This handler lets
# Ctrl-C end the process at once meanwhile. After that, pipeline.plumbing.command installs another handler.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)

prepare_environment()  # before torch and other libraries are imported, which read these variables
