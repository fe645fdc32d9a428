"""Run a stage with the arguments STAMP INPUT... OUTPUT, and end with a clear message if it fails.

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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from .artifacts import (
    MANIFEST,
    Artifact,
    Draft,
    Manifest,
    check_artifact_files,
    experiment_option,
    find_manifest,
    open_artifact,
    publish,
    publish_copy,
    read_json,
    read_manifest,
    rebuild,
    sha256_of,
)
from .data_files import check_unchanged, signatures_of
from .environment import report_removed
from .errors import Paused, UserError
from .exit_status import FAILED, INTERRUPTED, PAUSED, ExitStatus
from .freshness import date_as_before, is_stamp, set_time
from .lock import hold
from .made_with import made_with

BUILD = Path("build")  # the directory of all experiments' outputs, in the working directory
RUN_SETTINGS = "run_settings.json"  # beside the stamps: settings of how training is run
# Name of an artifact's directory -> the Make target that makes it.
TARGETS = {
    "corpus": "download",
    "tokenizer": "tokenizer",
    "encoded": "encode",
    "model": "train",
    "evaluation": "evaluate",
    "registered": "register",
}
# Experiments with the same data share these. A model belongs to one experiment, like its run in MLflow.
SHARED = ("corpus", "tokenizer", "encoded")


@dataclass(frozen=True)
class StageCall:
    """What a stage works with: its settings, inputs and output."""

    # {"params": {section: settings}, "code": {file: digest}, "files": {setting: [[name, digest], ...]}}
    stamp: dict[str, Any]
    inputs: dict[str, Artifact]  # by directory name: corpus, tokenizer, ...
    output: Path  # the directory to publish
    experiment: str  # the name of its directory in build/
    started: int = field(default_factory=time.time_ns)  # ns, before any of the above was read
    run_settings: dict[str, Any] = field(default_factory=dict)  # settings that do not change the result
    data_files: dict[str, list[int]] = field(default_factory=dict)  # file that a setting names -> its signature

    @contextmanager
    def publish(self) -> Iterator[Draft]:
        """Yield the draft of the output; see pipeline.plumbing.artifacts.publish."""
        with publish(self.output, self.inputs, self.stamp, self.started) as draft:
            draft.made_with = made_with(self.stamp.get("code", {}))
            yield draft
            check_unchanged(self.data_files)


def run_stage(stage: Callable[[StageCall], None], keep: bool = True) -> None:
    """Run `stage` with the process's arguments, while no other stage of its experiment runs.

    With `keep`, a stage does not run if its output was made from the same settings, code and inputs.
    """
    report_removed()
    fail_clearly(lambda: _run(stage, keep, *map(Path, sys.argv[1:])))


def fail_clearly(work: Callable[[], None]) -> None:
    """Call `work`. End with a message and status 2, without a traceback, if the user can correct the error.

    DEBUG=1 in the environment shows the traceback too.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell sets that for background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)  # replaces that of stages/__init__.py
    try:
        _explained(work)
        sys.stdout.flush()
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _is_pipe_closed():
            _exit_quietly()
        if os.environ.get("DEBUG") == "1":  # other programs use other values of DEBUG
            traceback.print_exc()
        text = str(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            text += "; free some space, then run the same command again: it continues from here"
        elif isinstance(error, OSError):
            text += " (run it with DEBUG=1 to see where)"
        message = "\n".join(f"error: {line}" for line in text.splitlines())
        ExitStatus(FAILED, message).end()
    except Paused as pause:
        ExitStatus(PAUSED, str(pause)).end()
    except KeyboardInterrupt:
        ExitStatus(INTERRUPTED, "interrupted").end()


def _explained(work: Callable[[], None]) -> None:
    """Call `work` and turn an error of MLflow into a UserError."""
    try:
        work()
    except Exception as error:
        mlflow = sys.modules.get("mlflow")  # importing MLflow is slow; only an imported MLflow can have raised an error
        if mlflow is None or not isinstance(error, mlflow.MlflowException):
            raise
        from .tracking.store import explain_failure

        with explain_failure(mlflow.get_tracking_uri()):
            raise


def _is_pipe_closed() -> bool:
    """Return whether standard output is a pipe whose reader has ended."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _exit_quietly() -> NoReturn:
    """Exit with the status of a program that SIGPIPE has ended. Python itself ignores that signal."""
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
    )  # otherwise Python reports the error again when it exits
    sys.exit(128 + signal.SIGPIPE)


def expected_processes() -> int:
    """Return the number of processes requested by `make NPROC=2` (stages/launch.py) or by another launcher."""
    return int(os.environ.get("PIPELINE_NPROC") or os.environ.get("WORLD_SIZE") or 1)


def _run(stage: Callable[[StageCall], None], keep: bool, stamp: Path, *rest: Path) -> None:
    *manifests, output = rest
    is_main = os.environ.get("RANK") in (None, "0")  # the main process holds the lock for all processes
    with hold(output.parent, TARGETS[output.name]) if is_main else nullcontext():
        call = _read_call(stamp, manifests, output)
        if keep and _is_made_of_the_same(call):
            if is_main:
                set_time(output / MANIFEST, call.started)
                print(f"{output} is up to date: its settings, code and inputs have not changed")
            return
        if is_main and output.name in SHARED and _take_from_another(call):
            date_as_before(output, stamp, manifests)
            return
        try:
            stage(call)
        except Paused as pause:
            again = f"make {TARGETS[output.name]}{experiment_option(call.experiment)}"
            raise Paused(f"{pause}; to continue, run: {again}") from None
        if is_main:
            date_as_before(output, stamp, manifests)


def _read_call(stamp: Path, manifests: list[Path], output: Path) -> StageCall:
    # The output must not be older than the inputs, even if the clock was set back. Otherwise Make would rerun the stage
    # on every call.
    written = (path.stat().st_mtime_ns for path in (stamp, *manifests) if path.exists())
    started = max(time.time_ns(), *written)
    directories = [manifest.parent for manifest in manifests]
    inputs = {directory.name: open_artifact(directory, TARGETS[directory.name]) for directory in directories}
    _check_origins(inputs)
    run_settings = read_json(stamp.with_name(RUN_SETTINGS)) or {}
    content = read_json(stamp)
    if not is_stamp(content) or not isinstance(run_settings, dict):
        raise UserError(
            f"{stamp} or {RUN_SETTINGS} beside it is damaged; remove {stamp.parent} and run the same command again"
        )
    data_files = signatures_of(content, stamp.parent)
    return StageCall(content, inputs, output, output.parent.name, started, run_settings, data_files)


def _check_origins(inputs: dict[str, Artifact]) -> None:
    """Raise UserError if the inputs do not fit together: one was made from another version of a second one."""
    for name, artifact in inputs.items():
        for source, digest in artifact.inputs.items():
            if source in inputs and inputs[source].digest != digest:
                raise UserError(
                    f"{artifact.directory} was made from another {source} than {inputs[source].directory}; "
                    f"{rebuild(artifact.directory, TARGETS[name])}"
                )


def _is_made_of_the_same(call: StageCall) -> bool:
    """Return whether the output exists, is undamaged, and was made from the stamp and the inputs of this call.

    Make starts a stage with such an output if an input was made again with the same content, or if two makes run at
    once.
    """
    target = TARGETS[call.output.name]
    try:
        manifest = read_manifest(call.output, target)
        check_artifact_files(call.output, manifest, target, sha256_of)
    except UserError:
        return False
    return _is_manifest_of(call, manifest)


def _take_from_another(call: StageCall) -> bool:
    """Publish what another experiment made from the same stamp and inputs. Return False if there is nothing such."""
    for other in sorted(call.output.parent.parent.glob(f"[!.]*/{call.output.name}")):
        manifest = find_manifest(other)
        if other == call.output or manifest is None or not _is_manifest_of(call, manifest):
            continue
        with suppress(UserError, OSError):  # it is damaged, or was removed in this moment
            publish_copy(manifest, other, call.output, call.started)
            print(f"{call.output} is the same as {other}: same settings, code and inputs")
            return True
    return False


def _is_manifest_of(call: StageCall, manifest: Manifest) -> bool:
    """Return whether an artifact was made from the stamp and the inputs of this call."""
    return manifest.stamp == call.stamp and manifest.inputs == {name: i.digest for name, i in call.inputs.items()}
