"""Check the names of splits for all that they serve later: file names, names of MLflow's metrics, and each other."""

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable

# What file systems and MLflow's metrics take, with a letter or a digit at both ends.
NAME = re.compile(r"\w(?:[\w. -]*\w)?")
MAX_BYTES = 100  # of a name; file names have 255, metrics 250
MEANT = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "validate", "valid", "val", "dev", "devel", "development", "eval", "evaluation"),
}


def check_names(names: Collection[str], known: Iterable[str] = ()) -> None:
    """Raise ValueError for names of test sets that cannot be used. `known` may be among them, being none."""
    mistakes = [text for name in names if name not in known and (text := _mistake(name))]
    for name, other in same_names(names):
        mistakes.append(f"{other!r} and {name!r} would be one file where case does not count; rename one")
    if mistakes:
        raise ValueError("; ".join(mistakes))


def same_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return each name that is an earlier one, to a file system without case too, with that one."""
    first: dict[str, str] = {}
    found = []
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in first:
            found.append((name, first[folded]))
        first.setdefault(folded, name)
    return found


def meant_split(name: str) -> str | None:
    """Return the split that a name is a slip or another word for (`valid`, `dev2010`, `trian`); None for test sets."""
    name = name.casefold()
    if "test" in name:
        return None
    for split, words in MEANT.items():
        if re.match(rf"(?:{'|'.join(words)})(?![^\W\d_])", name):
            return split
    close = difflib.get_close_matches(name, MEANT, n=1, cutoff=0.8)
    return close[0] if close else None


def _mistake(name: str) -> str | None:
    if not NAME.fullmatch(name) or len(name.encode()) > MAX_BYTES:
        proposal = re.sub(r"[^\w. -]+", "_", name)[:40].strip("_. -")
        return (
            f"got the name {name!r}, expected letters, digits, spaces and any of . _ -, at most {MAX_BYTES} bytes, "
            f"with a letter or digit at both ends{f'; for example {proposal}' if proposal else ''}"
        )
    if meant := meant_split(name):
        return f"got {name!r}, which would be a test set; did you mean {meant}? If not, name it for example test_{name}"
    return None
