"""Find the files that settings name, as inputs of a stage: their content is in its stamp."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .digests import Digests
from .errors import UserError
from .watch import VARIABLE, matching, signature

MEMORY = "files.json"  # beside the stamps: settings, code and the files that settings name, for watch.py


def find(path: str, setting: str) -> list[Path]:
    """The files that a path or glob stands for, ${VARIABLE}s taken from the environment; UserError if there is none."""
    try:
        files = [Path(name) for name in matching(path)]
    except KeyError:
        unset = next(name for name in VARIABLE.findall(path) if name not in os.environ)
        raise UserError(f"{setting}: {path}: {unset} is not set; run: export {unset}=/path/to/the/folder") from None
    if not files:
        raise UserError(f"{setting}: no file matches {path}; check the path")
    for file in files:
        if file.is_dir():
            raise UserError(f"{setting}: {file} is a folder; name the files in it, e.g. {file}/*.tsv")
        if not file.is_file():
            raise UserError(f"{setting}: the file {file} is missing; check the path")
    return files


def named_by(params: Mapping[str, Any]) -> dict[str, str]:
    """Setting -> the path or glob that it names, in the sections of a stage."""
    download = params.get("download")
    if download is None or download["source"] != "files":
        return {}
    return dict(_leaves("download.files.splits", download["files"]["splits"]))


def digests_of(named: Mapping[str, str], digests: Digests) -> dict[str, list[list[str]]]:
    """Setting -> [name, sha256] of each of its files; their folders are left out: elsewhere they are the same."""
    return {
        setting: [[file.name, digests.sha256(file)] for file in find(path, setting)] for setting, path in named.items()
    }


def signatures_of(stamp: Mapping[str, Any], stamps: Path) -> dict[str, list[int]]:
    """The state of the files that a stamp tells of; UserError if they are not any more what it tells."""
    if not stamp.get("files"):
        return {}
    named = named_by(stamp["params"])
    signatures = {str(file): signature(str(file)) for setting, path in named.items() for file in find(path, setting)}
    if digests_of(named, Digests(stamps / MEMORY)) != stamp["files"]:
        raise UserError(f"the files of {', '.join(named)} have changed since make began; run the same again")
    check_unchanged(signatures)  # one may have changed while the next was hashed
    return signatures


def check_unchanged(signatures: Mapping[str, list[int]]) -> None:
    """UserError if a file was touched since its signature was taken."""
    for name, before in signatures.items():
        if not Path(name).exists() or signature(name) != before:
            raise UserError(f"{name} changed while it was read; run the same again")


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield prefix, value
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(f"{prefix}.{name}", below)
