"""Find the data files that settings name. Their digests are part of a stage's stamp."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .digests import Digests
from .errors import UserError
from .watch import VARIABLE, matching, signature

FILES_JSON = "files.json"  # beside the stamps: what watch.py compares


def find(path: str, setting: str) -> list[Path]:
    """Return the files that a path or glob matches, with ${VARIABLE}s replaced. Raise UserError if there is none."""
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
    """Return the paths and globs in a stage's sections, keyed by the name of their setting."""
    download = params.get("download")
    if download is None or download["source"] != "files":
        return {}
    return dict(_paths_in("download.files.splits", download["files"]["splits"]))


def digests_of(named: Mapping[str, str], digests: Digests) -> dict[str, list[list[str]]]:
    """Return [name, sha256] of each file of each setting. A name has no folder, so a moved file changes nothing."""
    return {
        setting: [[file.name, digests.sha256(file)] for file in find(path, setting)] for setting, path in named.items()
    }


def signatures_of(stamp: Mapping[str, Any], stamps: Path) -> dict[str, list[int]]:
    """Return the signatures of the files that a stamp lists. Raise UserError if their content has changed since."""
    if not stamp.get("files"):
        return {}
    named = named_by(stamp["params"])
    signatures = {str(file): signature(str(file)) for setting, path in named.items() for file in find(path, setting)}
    if digests_of(named, Digests(stamps / FILES_JSON)) != stamp["files"]:
        raise UserError(f"the files of {', '.join(named)} have changed since make began; run the same command again")
    check_unchanged(signatures)  # one may have changed while another was read
    return signatures


def check_unchanged(signatures: Mapping[str, list[int]]) -> None:
    """Raise UserError if a file has changed since its signature was taken."""
    for name, before in signatures.items():
        if not Path(name).exists() or signature(name) != before:
            raise UserError(f"{name} changed while it was read; run the same command again")


def _paths_in(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield prefix, value
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _paths_in(f"{prefix}.{name}", below)
