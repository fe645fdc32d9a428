"""Owns a published split as text: one Parquet file with the columns source and target. Imports nothing slow."""

from pathlib import Path

import pyarrow.parquet as pq


def one_line(text: str) -> str:
    """The text without line breaks of any kind, so that files keep one sentence a line in every reader."""
    return " ".join(text.replace("\t", " ").splitlines()).strip()


def read_split(path: Path) -> tuple[list[str], list[str]]:
    """Sources and targets of a split, each one line."""
    table = pq.read_table(path, columns=["source", "target"])
    sources, targets = ([one_line(text) for text in table[side].to_pylist()] for side in ("source", "target"))
    return sources, targets
