"""Owns a published split as text: one Parquet file with the columns source and target. Imports nothing slow."""

from pathlib import Path

import pyarrow.parquet as pq


def read_split(path: Path) -> tuple[list[str], list[str]]:
    """Return the sources and the targets of a split."""
    table = pq.read_table(path, columns=["source", "target"])
    return table["source"].to_pylist(), table["target"].to_pylist()
