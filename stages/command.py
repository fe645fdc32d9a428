"""Owns what all stages share on the command line: STAMP INPUT... OUTPUT, and how an error is shown.

python -m stages.encode build/default/stamps/encode.json build/default/corpus/manifest.json ... build/default/encoded
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, Draft, open_artifact, publish
from pipeline.errors import UserError

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

    stamp: dict[str, Any]  # {"params": {section: settings}, "code": {file: digest}}
    inputs: dict[str, Artifact]  # by directory name: corpus, tokenizer, ...
    output: Path  # the directory to publish
    experiment: str  # name of the experiment: the directory under build/
    started: int = field(default_factory=time.time_ns)  # before any of the above was read

    def publish(self) -> AbstractContextManager[Draft]:
        """The output in the making; see pipeline.artifacts.publish."""
        return publish(self.output, self.inputs, self.stamp, self.started)


def expected_processes() -> int:
    """How many processes Make has started this stage in: NPROC."""
    return int(os.environ.get("PIPELINE_NPROC", "1"))


def run_stage(stage: Callable[[StageCall], None]) -> None:
    """Run `stage` on the process's arguments; a UserError becomes a line on stderr and status 2."""
    fail_clearly(lambda: stage(_read_call(sys.argv[1:])))


def fail_clearly(work: Callable[[], None]) -> None:
    """Call `work`; a UserError or an unusable file becomes one line on stderr and status 2, without a traceback."""
    try:
        work()
    except (UserError, OSError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _read_call(arguments: list[str]) -> StageCall:
    started = time.time_ns()
    stamp, *manifests, output = (Path(a) for a in arguments)
    directories = [m.parent for m in manifests]
    return StageCall(
        stamp=json.loads(stamp.read_bytes()),
        inputs={d.name: open_artifact(d, TARGETS[d.name]) for d in directories},
        output=output,
        experiment=output.parent.name,
        started=started,
    )
