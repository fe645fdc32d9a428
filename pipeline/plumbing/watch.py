"""Find out within milliseconds whether settings, code or data files have changed since the stamps were written.

    python -I -S pipeline/plumbing/watch.py build/default/stamps/files.json

This command prints `unchanged` or nothing. Make runs it on every call, without the project's libraries. So this module
imports little, and nothing from the project.
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
    """Return the names of the files that a path or glob matches, sorted. Raise KeyError if a ${VARIABLE} is not set.

    If a file or directory has exactly the name `path`, it is returned, even if the name looks like a glob.
    """
    whole = VARIABLE.sub(lambda match: os.environ[match[1]], path)
    if os.path.exists(whole) or not glob.has_magic(whole):
        return [whole]
    return sorted(name for name in glob.glob(_as_written(whole), recursive=True) if not os.path.isdir(name))


def signature(file: str) -> list[int]:
    """Return what changes with a file's content: its size, modification and change times (ns), and inode."""
    found = os.stat(file)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def sources(settings: Sequence[str]) -> dict[str, list[int]]:
    """Return the signatures of the settings files and of all code in the working directory.

    Make's own comparison of times would miss a deleted file, and an older file that was moved into place.
    """
    code = sorted(name for pattern in CODE for name in glob.glob(pattern, recursive=True))
    return {name: signature(name) for name in (*settings, *code)}


def is_unchanged(memory: str) -> bool:
    """Return whether all files have the signatures in `memory`, written by stamps.py, and none was added or removed."""
    with open(memory, encoding="utf-8") as file:
        content = json.load(file)
    if content["sources"] != sources(content["settings"]):
        return False
    files = content["files"]
    found = dict.fromkeys(name for path in content["named"].values() for name in matching(path))
    return list(found) == list(files) and all(signature(name) == files[name]["signature"] for name in found)


def _as_written(pattern: str) -> str:
    """Escape the leading folders of a pattern that exist under exactly this name, as in `data [v2]/*.tsv`."""
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
        pass  # stages/stamp.py will report what is wrong
