"""Read a corpus of local files: which files make up each split. tables.py reads a single file."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ...plumbing.artifacts import sha256_of
from ...plumbing.data_files import find
from ...plumbing.errors import UserError
from ...plumbing.params import AlignedText, FilesSettings
from . import RawCorpus, with_origin
from .tables import read_aligned, read_pairs


def read_files(settings: FilesSettings, languages: tuple[str, str], where: str = "download.files.splits") -> RawCorpus:
    """Return the pairs of every split in the settings, which are read when they are asked for.

    `where` is the name of the settings, for error messages. The manifest gets the names of the files without their
    directories, which may be private.
    """
    raw = RawCorpus()
    for split, value in settings.splits.items():
        setting = f"{where}.{split}"
        if isinstance(value, AlignedText):
            sides = (_one_file(value.source, setting), _one_file(value.target, setting))
            groups: dict[tuple[Path, ...], Iterator[tuple[str, str]]] = {sides: read_aligned(*sides)}
        else:
            groups = {(file,): read_pairs(file, languages) for file in find(value, setting)}
        parts = []
        for files, pairs in groups.items():
            name = ", ".join(file.name for file in files)
            digests = ", ".join(sha256_of(file) for file in files)
            origin = raw.add_origin({"name": name, "licence": settings.licence, "sha256": digests})
            parts.append(with_origin(pairs, origin))
        raw.splits[split] = chain.from_iterable(parts)
    return raw


def _one_file(path: str, setting: str) -> Path:
    files = find(path, setting)
    if len(files) != 1:
        raise UserError(f"{setting}: {path} matches {len(files)} files, expected one")
    return files[0]
