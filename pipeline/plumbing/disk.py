"""Measure what files take on the disk, and remove directories at once."""

import os
import shutil
from pathlib import Path

REMOVED = ".*.removed"  # names of directories that are being removed
UNITS = ("B", "kB", "MB", "GB", "TB")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a directory; links count as themselves. 0 where there is nothing."""
    if path.is_symlink() or not path.is_dir():
        return _bytes(path)
    return sum(_bytes(file) for file in path.rglob("*") if file.is_symlink() or not file.is_dir())


def remove_directory(directory: Path) -> None:
    """Remove a directory through a rename: a kill leaves all of it, or a hidden one that REMOVED matches."""
    scratch = directory.with_name(REMOVED.replace("*", directory.name))
    shutil.rmtree(scratch, ignore_errors=True)
    os.rename(directory, scratch)
    shutil.rmtree(scratch)


def told_size(count: int) -> str:
    """`512 B`, `1.5 MB`."""
    size = float(count)
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit returns")


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # another process has removed it
        return 0
