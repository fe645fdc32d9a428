"""Owns how a stage's output comes into being: whole, hashed, and in one rename. Knows nothing of what is inside.

An artifact is a directory with a `manifest.json`, which is written last and lists every other file with its size
and sha256. Make's targets are these manifests.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError

MANIFEST = "manifest.json"


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON through a rename, so that `path` is either the old or the new content, never a part."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # two processes may write the same file
    with open(scratch, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)


def read_json(path: Path) -> Any:
    """The file's content; None where it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


@dataclass(frozen=True)
class Artifact:
    """A published directory, checked against its manifest."""

    directory: Path
    facts: dict[str, Any]  # what the stage recorded: counts, sources, licences, scores
    files: dict[str, dict[str, Any]]  # file name -> {"sha256": hex, "bytes": size}
    stamp: dict[str, Any]  # settings and code digests that it was made with
    inputs: dict[str, str]  # name -> digest of the artifacts that it was made from
    digest: str  # sha256 of the manifest: names the whole artifact

    def path(self, name: str) -> Path:
        """Path of one of the artifact's files; UserError if the manifest does not list it."""
        if name not in self.files:
            raise UserError(f"{self.directory / MANIFEST} lists no file {name!r}; it has: {', '.join(self.files)}")
        return self.directory / name


@dataclass
class Draft:
    """An artifact in the making: files go into `directory`, what is to be recorded into `facts`."""

    directory: Path
    facts: dict[str, Any] = field(default_factory=dict)


@contextmanager
def publish(
    directory: Path, inputs: dict[str, Artifact], stamp: dict[str, Any], started: int | None = None
) -> Iterator[Draft]:
    """Yield a scratch directory that becomes `directory` by rename when the block ends well.

    A block that raises, or a process that dies, leaves an older artifact as it was; the scratch directory of a dead
    process is removed by the next one. What it was made from is recorded: `inputs` by digest, and the stage's `stamp`.
    The manifest is dated `started` (ns), when those were read: what changes during a stage is newer than it to Make.
    """
    scratch = directory.with_name(f"{directory.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        draft = Draft(scratch)
        yield draft
        _finish(draft, inputs, stamp, started)
        _replace(scratch, directory)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)  # on a full disk, what failed must not stay and fill it
        raise


def _finish(draft: Draft, inputs: dict[str, Artifact], stamp: dict[str, Any], started: int | None) -> None:
    """Write the manifest of what is in the draft; all of it is on the disk then, not only on its way there."""
    scratch = draft.directory
    names = sorted(str(p.relative_to(scratch)) for p in scratch.rglob("*") if p.is_file())
    for name in names:
        _sync(scratch / name)
    manifest = {
        "facts": draft.facts,
        "stamp": stamp,
        "inputs": {name: artifact.digest for name, artifact in inputs.items()},
        "files": {n: {"sha256": sha256_of(scratch / n), "bytes": (scratch / n).stat().st_size} for n in names},
    }
    write_json(scratch / MANIFEST, manifest)
    if started is not None:
        os.utime(scratch / MANIFEST, ns=(started, started))
    for folder in [scratch, *(p for p in scratch.rglob("*") if p.is_dir())]:
        _sync(folder)  # the names, too


def open_artifact(directory: Path, target: str) -> Artifact:
    """Open a published directory after checking each file's size and sha256.

    Raises UserError, naming the Make target that rebuilds it, when it is missing or damaged.
    """
    path = directory / MANIFEST
    remedy = f"run: make {target}{experiment_option(directory.parent.name)}"
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {remedy}") from None
    except ValueError:
        raise UserError(f"{path} is damaged (not JSON); {_rebuild(directory, remedy)}") from None
    for name, expected in manifest["files"].items():
        file = directory / name
        if not file.is_file():
            raise UserError(f"{file} is missing; {_rebuild(directory, remedy)}")
        if file.stat().st_size != expected["bytes"] or sha256_of(file) != expected["sha256"]:
            raise UserError(f"{file} differs from its sha256 in {MANIFEST}; {_rebuild(directory, remedy)}")
    return Artifact(
        directory, manifest["facts"], manifest["files"], manifest["stamp"], manifest["inputs"], sha256_of(path)
    )


def experiment_option(experiment: str) -> str:
    """` EXP=name` as typed after a Make target; empty for the default experiment, in build/default."""
    return "" if experiment == "default" else f" EXP={experiment}"


def _rebuild(directory: Path, remedy: str) -> str:
    return f"remove {directory} and {remedy}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(scratch: Path, directory: Path) -> None:
    """Rename `scratch` to `directory`. Between the two renames the target is absent, never half there."""
    old = directory.with_name(f"{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        os.rename(directory, old)
    os.rename(scratch, directory)
    _sync(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
