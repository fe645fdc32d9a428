"""Run a stage as Make calls it: STAMP INPUT... OUTPUT, the lock, and how an end is told.

python -m stages.encode build/default/stamps/encode.json build/default/corpus/manifest.json ... build/default/encoded
"""

import errno
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from .artifacts import MANIFEST, Artifact, Draft, experiment_option, open_artifact, publish, read_json, rebuild
from .data_files import check_unchanged, signatures_of
from .environment import tell_removed
from .errors import Paused, UserError
from .exit_status import FAILED, INTERRUPTED, PAUSED, ExitStatus
from .freshness import date_as_before, is_stamp, set_time
from .lock import hold
from .made_with import made_with

RUN_SETTINGS = "run_settings.json"  # beside the stamps: settings of how training is run
# The directory of an artifact -> the Make target that makes it.
TARGETS = {
    "corpus": "download",
    "tokenizer": "tokenizer",
    "encoded": "encode",
    "model": "train",
    "evaluation": "evaluate",
    "registered": "register",
}


@dataclass(frozen=True)
class StageCall:
    """What Make gives a stage."""

    stamp: dict[
        str, Any
    ]  # {"params": {section: settings}, "code": {file: digest}, "files": {setting: [[name, digest], ...]}}
    inputs: dict[str, Artifact]  # by directory name: corpus, tokenizer, ...
    output: Path  # the directory to publish
    experiment: str  # name of the experiment: the directory under build/
    started: int = field(default_factory=time.time_ns)  # before any of the above was read
    run_settings: dict[str, Any] = field(default_factory=dict)  # settings that have no say in what comes of it
    data_files: dict[str, list[int]] = field(default_factory=dict)  # those that settings name, with their signatures

    @contextmanager
    def publish(self) -> Iterator[Draft]:
        """The output in the making; see pipeline.plumbing.artifacts.publish."""
        with publish(self.output, self.inputs, self.stamp, self.started) as draft:
            draft.made_with = made_with(self.stamp.get("code", {}))
            yield draft
            check_unchanged(self.data_files)


def run_stage(stage: Callable[[StageCall], None], keep: bool = True) -> None:
    """Run `stage` on the process's arguments, alone in its experiment.

    Where its output is there and was made of the same, it is kept; not if only another place, such as MLflow, can tell.
    """
    tell_removed()
    fail_clearly(lambda: _run(stage, keep, *map(Path, sys.argv[1:])))


def fail_clearly(work: Callable[[], None]) -> None:
    """Call `work`; an error that the user can mend becomes one line on stderr and status 2, without a traceback.

    DEBUG=1 in the environment shows the traceback too.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell leaves it to what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # stages/__init__.py had one until here
    try:
        _explained(work)
        sys.stdout.flush()
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            _leave_quietly()
        if os.environ.get("DEBUG") == "1":  # other programs have a DEBUG of other values
            traceback.print_exc()
        text = str(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            text += "; make room, then run the same again: it goes on from there"
        elif isinstance(error, OSError):
            text += " (the same with DEBUG=1 shows where)"
        message = "\n".join(f"error: {line}" for line in text.splitlines())
        ExitStatus(FAILED, message).end()
    except Paused as pause:
        ExitStatus(PAUSED, str(pause)).end()
    except KeyboardInterrupt:
        ExitStatus(INTERRUPTED, "interrupted").end()


def _explained(work: Callable[[], None]) -> None:
    """Call `work`; what MLflow raises becomes a UserError, in whichever stage or command it is."""
    try:
        work()
    except Exception as error:
        mlflow = sys.modules.get("mlflow")  # slow to import, and who has not imported it has no error of it
        if mlflow is None or not isinstance(error, mlflow.MlflowException):
            raise
        from .tracking.store import explain_failure

        with explain_failure(mlflow.get_tracking_uri()):
            raise


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _leave_quietly() -> NoReturn:
    """End as a program does that SIGPIPE ends, which Python ignores."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python says so again at its exit
    sys.exit(128 + signal.SIGPIPE)


def expected_processes() -> int:
    """How many processes were asked for: by `make NPROC=2` (stages/launch.py), or by whoever starts them by hand."""
    return int(os.environ.get("PIPELINE_NPROC") or os.environ.get("WORLD_SIZE") or 1)


def _run(stage: Callable[[StageCall], None], keep: bool, stamp: Path, *rest: Path) -> None:
    *manifests, output = rest
    is_main = os.environ.get("RANK") in (None, "0")  # of several processes one holds the lock for all
    with hold(output.parent, TARGETS[output.name]) if is_main else nullcontext():
        call = _read_call(stamp, manifests, output)
        if keep and _is_made_of_the_same(call):
            if is_main:
                set_time(output / MANIFEST, call.started)
                print(f"{output} is kept: it was made of the same settings, code and inputs")
            return
        try:
            stage(call)
        except Paused as pause:
            again = f"make {TARGETS[output.name]}{experiment_option(call.experiment)}"
            raise Paused(f"{pause}; {again} goes on from there") from None
        if is_main:
            date_as_before(output, stamp, manifests)


def _read_call(stamp: Path, manifests: list[Path], output: Path) -> StageCall:
    # Should the clock have gone back, not before what it was made from: that would be stale for ever to Make.
    written = (path.stat().st_mtime_ns for path in (stamp, *manifests) if path.exists())
    started = max(time.time_ns(), *written)
    directories = [manifest.parent for manifest in manifests]
    inputs = {directory.name: open_artifact(directory, TARGETS[directory.name]) for directory in directories}
    _check_they_fit(inputs)
    run_settings = read_json(stamp.with_name(RUN_SETTINGS)) or {}
    content = read_json(stamp)
    if not is_stamp(content) or not isinstance(run_settings, dict):
        raise UserError(f"{stamp} or {RUN_SETTINGS} beside it is damaged; remove {stamp.parent} and run the same again")
    data_files = signatures_of(content, stamp.parent)
    return StageCall(content, inputs, output, output.parent.name, started, run_settings, data_files)


def _check_they_fit(inputs: dict[str, Artifact]) -> None:
    """Each artifact was made from the others as they are: none was put in from elsewhere."""
    for name, artifact in inputs.items():
        for source, digest in artifact.inputs.items():
            if source in inputs and inputs[source].digest != digest:
                raise UserError(
                    f"{artifact.directory} was made from another {source} than {inputs[source].directory}; "
                    f"{rebuild(artifact.directory, TARGETS[name])}"
                )


def _is_made_of_the_same(call: StageCall) -> bool:
    """Whether the output is there, whole, and made of what this call would make it of.

    Such a call comes when an input was made again and is the same, or when another make was quicker.
    """
    try:
        made = open_artifact(call.output, TARGETS[call.output.name])
    except UserError:
        return False
    return made.stamp == call.stamp and made.inputs == {name: each.digest for name, each in call.inputs.items()}
