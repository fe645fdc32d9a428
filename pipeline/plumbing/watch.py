"""Tell in milliseconds whether settings, code and the files that settings name are the same as at the last look.

    python -I -S pipeline/plumbing/watch.py build/default/stamps/files.json

prints `unchanged`, or nothing. Make runs this at every call, by its path and without the project's libraries: so it
imports little, and nothing of the project.
"""

import glob
import json
import os
import re
import sys
from collections.abc import Sequence

VARIABLE = re.compile(r"\$\{(\w+)\}")
CODE = ("pipeline/**/*.py", "stages/*.py")


def matching(path: str) -> list[str]:
    """The names of the files that a path or glob stands for, in order; KeyError for a ${VARIABLE} that is not set.

    What exists as it is written is no glob, and is named even where it is no file.
    """
    whole = VARIABLE.sub(lambda match: os.environ[match[1]], path)
    if os.path.exists(whole) or not glob.has_magic(whole):
        return [whole]
    return sorted(name for name in glob.glob(_as_written(whole), recursive=True) if not os.path.isdir(name))


def signature(file: str) -> list[int]:
    """What changes when a file's content does: size, times of content and inode, the inode itself."""
    told = os.stat(file)
    return [told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino]


def sources(settings: Sequence[str]) -> dict[str, list[int]]:
    """The files of settings, and all code of the project in the working directory, with their signatures.

    Make itself would see neither an older file that was moved into a place, nor one that is gone.
    """
    code = sorted(name for pattern in CODE for name in glob.glob(pattern, recursive=True))
    return {name: signature(name) for name in (*settings, *code)}


def is_unchanged(memory: str) -> bool:
    """Whether all is as `memory`, written by stamps.py, tells of it, and the settings name the same files."""
    with open(memory, encoding="utf-8") as file:
        content = json.load(file)
    if content["sources"] != sources(content["settings"]):
        return False
    files = content["files"]
    found = dict.fromkeys(name for path in content["named"].values() for name in matching(path))
    return list(found) == list(files) and all(signature(name) == files[name]["signature"] for name in found)


def _as_written(pattern: str) -> str:
    """The pattern with its leading folders taken as they are written, as far as they exist: `data [v2]/*.tsv`."""
    parts = pattern.split("/")
    known = 1
    while known < len(parts) and os.path.isdir("/".join(parts[:known]) or "/"):
        known += 1
    return "/".join([*map(glob.escape, parts[: known - 1]), *parts[known - 1 :]])


if __name__ == "__main__":
    try:
        if is_unchanged(sys.argv[1]):
            print("unchanged")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # whoever looks more closely tells what is wrong
