"""Read one's own corpus: which local files make up each split. How a file is read is in tables.py."""

from pathlib import Path

from ...plumbing.artifacts import sha256_of
from ...plumbing.data_files import find
from ...plumbing.errors import UserError
from ...plumbing.params import AlignedText, FilesSettings
from ..cleaning import Pair
from . import RawCorpus
from .tables import read_aligned, read_pairs


def read_files(settings: FilesSettings, languages: tuple[str, str], where: str = "download.files.splits") -> RawCorpus:
    """The pairs of every split named in the settings, which stand at `where` in the params.

    The manifest names files without their folders, which say more of the user's machine than of the data.
    """
    raw = RawCorpus()
    for split, value in settings.splits.items():
        setting = f"{where}.{split}"
        if isinstance(value, AlignedText):
            sides = (_one_file(value.source, setting), _one_file(value.target, setting))
            groups: dict[tuple[Path, ...], list[tuple[str, str]]] = {sides: read_aligned(*sides)}
        else:
            groups = {(file,): read_pairs(file, languages) for file in find(value, setting)}
        raw.splits[split] = []
        for files, pairs in groups.items():
            name = ", ".join(file.name for file in files)
            digests = ", ".join(sha256_of(file) for file in files)
            origin = raw.add_origin({"name": name, "licence": settings.licence, "sha256": digests})
            raw.splits[split] += [Pair(source, target, origin) for source, target in pairs]
    return raw


def _one_file(path: str, setting: str) -> Path:
    files = find(path, setting)
    if len(files) != 1:
        raise UserError(f"{setting}: {path} matches {len(files)} files, expected one")
    return files[0]
