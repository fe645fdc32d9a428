"""Check the names of splits, which become names of files and of MLflow's metrics."""

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable

# What file systems and MLflow accept, with a letter or a digit at both ends.
SPLIT_NAME = re.compile(r"\w(?:[\w. -]*\w)?")
MAX_BYTES = 100  # of a name; the limit of file names is 255, that of metrics 250
MEANT = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "validate", "valid", "val", "dev", "devel", "development", "eval", "evaluation"),
}


def check_names(names: Collection[str], known: Iterable[str] = ()) -> None:
    """Raise ValueError if a name cannot be that of a test set. The names in `known`, of other splits, are allowed."""
    mistakes = [text for name in names if name not in known and (text := _mistake(name))]
    for name, other in same_names(names):
        mistakes.append(f"{other!r} and {name!r} would be the same file on a system that ignores case; rename one")
    if mistakes:
        raise ValueError("; ".join(mistakes))


def same_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, earlier name) for names that are the same on a file system that ignores case."""
    first: dict[str, str] = {}
    found = []
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in first:
            found.append((name, first[folded]))
        first.setdefault(folded, name)
    return found


def meant_split(name: str) -> str | None:
    """Return the split that a name such as `valid`, `dev2010` or `trian` probably means; None if it is a test set."""
    name = name.casefold()
    if "test" in name:
        return None
    for split, words in MEANT.items():
        if re.match(rf"(?:{'|'.join(words)})(?![^\W\d_])", name):
            return split
    close = difflib.get_close_matches(name, MEANT, n=1, cutoff=0.8)
    return close[0] if close else None


def _mistake(name: str) -> str | None:
    if not SPLIT_NAME.fullmatch(name) or len(name.encode()) > MAX_BYTES:
        proposal = re.sub(r"[^\w. -]+", "_", name)[:40].strip("_. -")
        return (
            f"got the name {name!r}, expected letters, digits, spaces and any of . _ -, at most {MAX_BYTES} bytes, "
            f"with a letter or digit at both ends{f'; for example {proposal}' if proposal else ''}"
        )
    if meant := meant_split(name):
        return f"got {name!r}, which would be a test set; did you mean {meant}? If not, name it for example test_{name}"
    return None
