"""Measure the size of files, and delete directories in one step."""

import os
import shutil
from pathlib import Path

REMOVED = ".*.removed"  # matches directories that are being deleted
SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files in a directory, without following links; 0 if the path is missing."""
    if path.is_symlink() or not path.is_dir():
        return _bytes(path)
    return sum(_bytes(file) for file in path.rglob("*") if file.is_symlink() or not file.is_dir())


def remove_directory(directory: Path) -> None:
    """Rename a directory, then delete it. A kill leaves it complete, or under a hidden name that REMOVED matches."""
    scratch = directory.with_name(REMOVED.replace("*", directory.name))
    shutil.rmtree(scratch, ignore_errors=True)
    os.rename(directory, scratch)
    shutil.rmtree(scratch)


def told_size(count: int) -> str:
    """Format a size, as in `512 B` or `1.5 MB`."""
    size = float(count)
    for unit in SIZE_UNITS:
        if size < 1000 or unit == SIZE_UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit returns")


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # another process has deleted it
        return 0
