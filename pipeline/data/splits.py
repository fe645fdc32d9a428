"""Read a split of the corpus, which `corpus.write` wrote: a Parquet file with the columns source and target.

Stages that only read the corpus import this module instead of corpus.py, which is slow to import.
"""

from pathlib import Path

import pyarrow.parquet as pq


def read_split(path: Path) -> tuple[list[str], list[str]]:
    """Return the sources and the targets of a split."""
    table = pq.read_table(path, columns=["source", "target"])
    return table["source"].to_pylist(), table["target"].to_pylist()
