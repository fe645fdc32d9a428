"""Owns one's own corpus: which local files make up each split. How a file is read is in tables.py."""

import glob
import os
import re
from pathlib import Path

from ..artifacts import sha256_of
from ..cleaning import Pair
from ..errors import UserError
from ..params import AlignedText, FilesSettings
from . import Reading
from .tables import FORMATS, check_sides, load, read_pairs

VARIABLE = re.compile(r"\$\{(\w+)\}")


def read_files(settings: FilesSettings, languages: tuple[str, str]) -> Reading:
    """The pairs of every split named in the settings."""
    reading = Reading()
    for split, value in settings.splits.items():
        setting = f"download.files.splits.{split}"
        if isinstance(value, AlignedText):
            source, target = (_one_file(path, setting) for path in (value.source, value.target))
            pairs = [Pair(a, b, source.name) for a, b in _read_aligned(source, target)]
            files = [source, target]
        else:
            files = _matching_files(value, setting)
            pairs = [Pair(a, b, f.name) for f in files for a, b in read_pairs(f, _suffix(f, setting), languages)]
        reading.splits[split] = pairs
        for file in files:  # by name only: a path says more of its user's machine than of the data
            reading.origins[file.name] = {"name": file.name, "licence": settings.licence, "sha256": sha256_of(file)}
    return reading


def _expanded(path: str, setting: str) -> str:
    """The path with the environment's values for its ${VARIABLE}s."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise UserError(f"{setting}: {path}: the variable {name} is not set; run: export {name}=/path/to/the/folder")
        return os.environ[name]

    return VARIABLE.sub(value, path)


def _matching_files(pattern: str, setting: str) -> list[Path]:
    files = [Path(name) for name in sorted(glob.glob(_expanded(pattern, setting), recursive=True))]
    if not files:
        raise UserError(f"{setting}: no file matches {_expanded(pattern, setting)}")
    return files


def _one_file(path: str, setting: str) -> Path:
    file = Path(_expanded(path, setting))
    if not file.is_file():
        raise UserError(f"{setting}: the file {file} is missing")
    return file


def _suffix(file: Path, setting: str) -> str:
    if file.suffix not in FORMATS or file.suffix == ".txt":
        known = ", ".join(suffix for suffix in FORMATS if suffix != ".txt")
        raise UserError(
            f"{setting}: {file}: got the suffix {file.suffix!r}, expected one of {known}; two text files with a sentence a "
            "line are given as source: and target:"
        )
    return file.suffix


def _read_aligned(source: Path, target: Path) -> list[tuple[str, str]]:
    sides = [list(load(file, ".txt")["text"]) for file in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"{source} has {len(sides[0])} lines, {target} has {len(sides[1])}; line n of one must translate line n of the other"
        )
    check_sides(sides, [str(source), str(target)])
    return list(zip(*sides, strict=True))
