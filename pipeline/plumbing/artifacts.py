"""Publish what a stage makes: whole, hashed, and in one rename. What is inside is the stage's business.

An artifact is a directory with a `manifest.json`, which is written last and lists every other file with its size
and sha256. Make's targets are these manifests.

Two artifacts are the same if their content is: `facts` and `files`. Those are what the digest is taken of, by which
other artifacts name it. How it came to be (time, speed, versions, the names of runs) stands apart and differs between
two that are the same.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict

from .errors import UserError

if TYPE_CHECKING:  # pydantic is slow to import, and `make status` needs no facts
    from .facts import Execution, Facts

MANIFEST = "manifest.json"


class FileRecord(TypedDict):
    """What a manifest says of a file."""

    sha256: str  # hexadecimal
    bytes: int


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
class Manifest:
    """What a manifest.json says of its directory."""

    facts: dict[str, Any]  # what the stage recorded: counts, sources, licences, scores
    files: dict[str, FileRecord]  # by name: the content of the artifact
    stamp: dict[str, Any]  # settings, code and data files that it was made with
    inputs: dict[str, str]  # name -> digest of the artifacts that it was made from
    made_with: dict[str, Any]  # versions and hardware
    execution: dict[str, Any]  # facts that differ between two equal artifacts: times, speed, names of runs
    execution_files: dict[str, FileRecord]  # and files that do

    @property
    def digest(self) -> str:
        """Names the artifact by its content."""
        return _sha256_of_json({"facts": self.facts, "files": self.files})

    @property
    def checksum(self) -> str:
        """Tells whether the manifest, all of it, is as it was written."""
        return _sha256_of_json(vars(self))

    @classmethod
    def of(cls, content: Any) -> Self:
        """The manifest with the content of a manifest.json; ValueError where that is not as it was written."""
        if not isinstance(content, dict):
            raise ValueError("no mapping")
        try:
            manifest = cls(**{name: value for name, value in content.items() if name != "checksum"})
        except TypeError as error:
            raise ValueError(str(error)) from None
        if content.get("checksum") != manifest.checksum:
            raise ValueError("another checksum")
        return manifest

    def write(self, directory: Path) -> None:
        """Write manifest.json."""
        write_json(directory / MANIFEST, {**vars(self), "checksum": self.checksum})


def read_manifest(directory: Path, target: str) -> Manifest:
    """The manifest in a directory; UserError, naming the Make target, where it is missing or not as it was written."""
    path = directory / MANIFEST
    try:
        return Manifest.of(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run: make {target}{experiment_option(directory.parent.name)}") from None
    except (ValueError, IsADirectoryError, RecursionError):
        raise UserError(f"{path} is damaged (not as it was written); {rebuild(directory, target)}") from None


def find_manifest(directory: Path) -> Manifest | None:
    """The manifest in a directory; None where it is missing or damaged, or this is no directory."""
    try:
        return read_manifest(directory, "")
    except (UserError, NotADirectoryError):
        return None


@dataclass(frozen=True)
class Artifact:
    """A published directory, checked against its manifest."""

    directory: Path
    manifest: Manifest
    target: str  # the Make target that makes it

    @property
    def files(self) -> dict[str, FileRecord]:
        return self.manifest.files

    @property
    def stamp(self) -> dict[str, Any]:
        return self.manifest.stamp

    @property
    def inputs(self) -> dict[str, str]:
        return self.manifest.inputs

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def path(self, name: str) -> Path:
        """Path of one of the artifact's files; UserError if the manifest does not list it."""
        known = self.files | self.manifest.execution_files
        if name not in known:
            raise UserError(f"{self.directory / MANIFEST} lists no file {name!r}; it has: {', '.join(known)}")
        return self.directory / name


@dataclass
class Draft:
    """An artifact in the making: files go into `directory`, what is to be recorded into the rest."""

    directory: Path
    facts: "Facts | None" = None
    execution: "Execution | None" = None
    execution_files: set[str] = field(default_factory=set)  # names of files that are no content of the artifact
    made_with: dict[str, Any] = field(default_factory=dict)


@contextmanager
def publish(
    directory: Path, inputs: Mapping[str, Artifact], stamp: dict[str, Any], started: int | None = None
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


def _finish(draft: Draft, inputs: Mapping[str, Artifact], stamp: dict[str, Any], started: int | None) -> None:
    """Write the manifest of what is in the draft; all of it is on the disk then, not only on its way there."""
    scratch = draft.directory
    names = sorted(str(p.relative_to(scratch)) for p in scratch.rglob("*") if p.is_file())
    for name in names:
        _sync(scratch / name)
    files = {n: FileRecord(sha256=sha256_of(scratch / n), bytes=(scratch / n).stat().st_size) for n in names}
    Manifest(
        facts=_to_json(draft.facts),
        files={name: record for name, record in files.items() if name not in draft.execution_files},
        stamp=stamp,
        inputs={name: artifact.digest for name, artifact in inputs.items()},
        made_with=draft.made_with,
        execution=_to_json(draft.execution),
        execution_files={name: files[name] for name in sorted(draft.execution_files)},
    ).write(scratch)
    if started is not None:
        os.utime(scratch / MANIFEST, ns=(started, started))
    for folder in [scratch, *(p for p in scratch.rglob("*") if p.is_dir())]:
        _sync(folder)  # the names, too


def open_artifact(directory: Path, target: str) -> Artifact:
    """Open a published directory after checking each file's size and sha256.

    Raises UserError, naming the Make target that rebuilds it, when it is missing or damaged.
    """
    manifest = read_manifest(directory, target)
    check_files(directory, manifest, target, sha256_of)
    return Artifact(directory, manifest, target)


def check_files(directory: Path, manifest: Manifest, target: str, sha256: Callable[[Path], str]) -> None:
    """UserError, with what to type, unless the directory's files are those that its manifest lists."""
    remedy = rebuild(directory, target)
    for name, expected in (manifest.files | manifest.execution_files).items():
        file = directory / name
        if not file.is_file():
            raise UserError(f"{file} is missing; {remedy}")
        if file.stat().st_size != expected["bytes"] or sha256(file) != expected["sha256"]:
            raise UserError(f"{file} differs from its sha256 in {MANIFEST}; {remedy}")


def experiment_option(experiment: str) -> str:
    """` EXP=name` as typed after a Make target; empty for the default experiment, in build/default."""
    return "" if experiment == "default" else f" EXP={experiment}"


def rebuild(directory: Path, target: str) -> str:
    """What to type to have an artifact made again."""
    return f"remove {directory} and run: make {target}{experiment_option(directory.parent.name)}"


def _sha256_of_json(content: Any) -> str:
    """Hex sha256 of a content in the one way of writing it as JSON without spaces and with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json(part: "Facts | Execution | None") -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_none=True) if part else {}


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
