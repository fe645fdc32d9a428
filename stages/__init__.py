"""One short script a stage: open the inputs, call the pipeline, publish the output."""

import os
import signal
import sys
from types import FrameType

from pipeline.plumbing.environment import remove_overrides


def _leave(signum: int, frame: FrameType | None) -> None:
    os.write(sys.stderr.fileno(), b"interrupted\n")
    os._exit(128 + signum)


# Python imports this package before the module that it runs (`python -m stages.train`). While that one imports, for
# seconds, nothing has begun that would have to be ended; then pipeline.plumbing.command takes over.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)

remove_overrides()  # here, because it comes before torch and all else that reads them
