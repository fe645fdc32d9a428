"""Publish the output of a stage as an artifact: a directory that appears complete, in one rename.

An artifact has a `manifest.json`, which is written last and lists every other file with its size and sha256. These
manifests are Make's targets.

Other artifacts refer to an artifact by its digest, which is computed from its `facts` and `files`. Two artifacts with
the same digest have the same content. The manifest also records times, speed, versions and names of runs. These are not
part of the digest.
"""

import hashlib
import json
import os
import re
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
    """Return the sha256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON through a rename: `path` has either the old or the new content, never a part of it."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # two processes may write the same file
    with open(scratch, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


@dataclass(frozen=True)
class Manifest:
    """The content of a manifest.json."""

    facts: dict[str, Any]  # what the stage recorded: counts, sources, licences, scores; see facts.py
    files: dict[str, FileRecord]  # by name
    stamp: dict[str, Any]  # settings, code and data files of the stage
    inputs: dict[str, str]  # name -> digest of each artifact that the stage read
    made_with: dict[str, Any]  # versions and hardware
    execution: dict[str, Any]  # times, speed, names of runs: not part of the digest
    execution_files: dict[str, FileRecord]  # not part of the digest

    @property
    def digest(self) -> str:
        """The sha256 of the artifact's content."""
        return _sha256_of_json({"facts": self.facts, "files": self.files})

    @property
    def checksum(self) -> str:
        """The sha256 of the whole manifest, which shows whether somebody edited it."""
        return _sha256_of_json(vars(self))

    @classmethod
    def of(cls, content: Any) -> Self:
        """Return the manifest with the content of a manifest.json. Raise ValueError if it was changed since `write`."""
        if not isinstance(content, dict):
            raise ValueError("not a mapping")
        try:
            manifest = cls(**{name: value for name, value in content.items() if name != "checksum"})
        except TypeError as error:
            raise ValueError(str(error)) from None
        if content.get("checksum") != manifest.checksum:
            raise ValueError("the checksum differs")
        return manifest

    def write(self, directory: Path) -> None:
        """Write manifest.json."""
        write_json(directory / MANIFEST, {**vars(self), "checksum": self.checksum})


def read_manifest(directory: Path, target: str) -> Manifest:
    """Return the manifest in a directory. Raise UserError, with the command to run, if it is missing or was changed."""
    path = directory / MANIFEST
    try:
        return Manifest.of(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run: make {target}{experiment_option(directory.parent.name)}") from None
    except (ValueError, IsADirectoryError, RecursionError):
        raise UserError(f"{path} is damaged or was edited; {rebuild(directory, target)}") from None


def find_manifest(directory: Path) -> Manifest | None:
    """Return the manifest in a directory; None if it is missing or damaged, or if there is no directory."""
    try:
        return read_manifest(directory, "")
    except (UserError, NotADirectoryError):
        return None


def is_training_text(name: str) -> bool:
    """Return whether a file of an artifact has training text: `train.parquet`, or a shard of encoded text."""
    return name == "train.parquet" or re.fullmatch(r"train-\d{5,}-[0-9a-f]{16}\.arrow", name) is not None


@dataclass(frozen=True)
class Artifact:
    """A published directory whose files were checked against its manifest.

    Of files with training text, which may be large, only the size was checked. `path` checks their sha256.
    """

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
        """Return the path of a file of the artifact. Raise UserError if the manifest lists no such file."""
        known = self.files | self.manifest.execution_files
        if name not in known:
            raise UserError(f"{self.directory / MANIFEST} lists no file {name!r}; it has: {', '.join(known)}")
        if is_training_text(name):
            _check_file(self.directory, name, known[name], self.target, sha256_of)
        return self.directory / name


@dataclass
class Draft:
    """An artifact that is being made. Files go into `directory`; the other fields go into the manifest."""

    directory: Path
    facts: "Facts | None" = None
    execution: "Execution | None" = None
    execution_files: set[str] = field(default_factory=set)  # names of files that are not part of the digest
    made_with: dict[str, Any] = field(default_factory=dict)


@contextmanager
def publish(
    directory: Path, inputs: Mapping[str, Artifact], stamp: dict[str, Any], started: int | None = None
) -> Iterator[Draft]:
    """Yield a draft whose directory is renamed to `directory` when the block ends without an error.

    If the block raises or the process dies, an older artifact stays as it was. The next call removes the scratch
    directory that a dead process has left. The manifest records the `stamp` of the stage and the digests of `inputs`.
    The manifest's modification time becomes `started` (ns), the time just before the stage read its inputs. So Make
    notices an input that changed while the stage ran.
    """
    with _replacing(directory, started) as scratch:
        draft = Draft(scratch)
        yield draft
        _manifest_of(draft, inputs, stamp).write(scratch)


@contextmanager
def _replacing(directory: Path, started: int | None) -> Iterator[Path]:
    """Yield a scratch directory. Afterwards put it on the disk and rename it to `directory`; remove it on an error."""
    scratch = directory.with_name(f"{directory.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        if started is not None:
            os.utime(scratch / MANIFEST, ns=(started, started))
        for path in [*scratch.rglob("*"), scratch]:  # the content of files, and the names in directories
            _sync(path)
        _replace(scratch, directory)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)  # frees its space, which a full disk needs
        raise


def _manifest_of(draft: Draft, inputs: Mapping[str, Artifact], stamp: dict[str, Any]) -> Manifest:
    """Return the manifest of a draft."""
    scratch = draft.directory
    names = sorted(str(p.relative_to(scratch)) for p in scratch.rglob("*") if p.is_file())
    files = {n: FileRecord(sha256=sha256_of(scratch / n), bytes=(scratch / n).stat().st_size) for n in names}
    return Manifest(
        facts=_to_json(draft.facts),
        files={name: record for name, record in files.items() if name not in draft.execution_files},
        stamp=stamp,
        inputs={name: artifact.digest for name, artifact in inputs.items()},
        made_with=draft.made_with,
        execution=_to_json(draft.execution),
        execution_files={name: files[name] for name in sorted(draft.execution_files)},
    )


def publish_copy(manifest: Manifest, source: Path, directory: Path, started: int) -> None:
    """Publish the artifact in `source` in another directory too. Where hard links exist, its files take no more space.

    The manifest's modification time becomes `started` (ns), as in `publish`. Raise UserError or OSError, and change
    nothing, if the files in `source` are not those of `manifest`, or if another process replaces them meanwhile.
    """
    with _replacing(directory, started) as scratch:
        for name in manifest.files | manifest.execution_files:
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source / name, scratch / name)
        check_artifact_files(scratch, manifest, "", sha256_of)
        manifest.write(scratch)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # some file systems have no hard links
        shutil.copy2(source, target)


def open_artifact(directory: Path, target: str) -> Artifact:
    """Open a published directory and check the size of each file, and its sha256 unless it has training text.

    Raise UserError, with the command to run, if it is missing or damaged. `target` is the Make target that makes it.
    """
    manifest = read_manifest(directory, target)
    for name, expected in (manifest.files | manifest.execution_files).items():
        _check_file(directory, name, expected, target, None if is_training_text(name) else sha256_of)
    return Artifact(directory, manifest, target)


def check_artifact_files(directory: Path, manifest: Manifest, target: str, sha256: Callable[[Path], str]) -> None:
    """Raise UserError, with the command to run, if a file that the manifest lists is missing or was changed."""
    for name, expected in (manifest.files | manifest.execution_files).items():
        _check_file(directory, name, expected, target, sha256)


def _check_file(
    directory: Path, name: str, expected: FileRecord, target: str, sha256: Callable[[Path], str] | None
) -> None:
    """Raise UserError if a file is missing or differs; without `sha256`, if its size differs."""
    file = directory / name
    if not file.is_file():
        raise UserError(f"{file} is missing; {rebuild(directory, target)}")
    if file.stat().st_size != expected["bytes"] or (sha256 and sha256(file) != expected["sha256"]):
        raise UserError(f"{file} differs from its sha256 in {MANIFEST}; {rebuild(directory, target)}")


def experiment_option(experiment: str) -> str:
    """Return ` EXP=name`, or ` EXP=name DATA=other` for `name@other`; an empty string for the default experiment."""
    name, _, data = experiment.partition("@")
    return "" if experiment == "default" else f" EXP={name}" + (f" DATA={data}" if data else "")


def rebuild(directory: Path, target: str) -> str:
    """Return the instruction for making an artifact again."""
    return f"remove {directory} and run: make {target}{experiment_option(directory.parent.name)}"


def _sha256_of_json(content: Any) -> str:
    """Return the sha256 of a value, written as JSON without spaces and with sorted keys."""
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
    """Rename `scratch` to `directory`. Between two renames `directory` does not exist; it is never incomplete."""
    old = directory.with_name(f"{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        os.rename(directory, old)
    os.rename(scratch, directory)
    _sync(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
