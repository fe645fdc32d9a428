"""Measure the size of files, and delete directories in one step."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

REMOVED = ".*.removed"  # matches directories that are being deleted
SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


def size_of(*paths: Path) -> int:
    """Return the bytes that deleting some files and directories would free. Links are not followed.

    Experiments with equal data share its files as hard links. Such a file is freed when its last link is deleted.
    """
    found: dict[tuple[int, int], list[os.stat_result]] = defaultdict(list)
    for file in {file for path in paths for file in _files(path)}:
        with suppress(FileNotFoundError):  # another process has deleted it
            state = file.lstat()
            found[state.st_dev, state.st_ino].append(state)
    return sum(links[0].st_size for links in found.values() if len(links) >= links[0].st_nlink)


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


def _files(path: Path) -> Iterator[Path]:
    """Yield a file itself, or all files in a directory."""
    if path.is_symlink() or not path.is_dir():
        yield path
    else:
        yield from (file for file in path.rglob("*") if file.is_symlink() or not file.is_dir())
