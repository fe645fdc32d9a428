"""Read a split of the corpus, which `corpus.build` wrote: a Parquet file with the columns source and target."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

BATCH = 20_000  # pairs


def read_split(path: Path, most: int | None = None) -> tuple[list[str], list[str]]:
    """Return the sources and the targets of a split: all, or the first `most`.

    The training split is in random order, so its first pairs are a sample.
    """
    sources: list[str] = []
    targets: list[str] = []
    for some_sources, some_targets in batches(path):
        sources += some_sources[: None if most is None else most - len(sources)]
        targets += some_targets[: None if most is None else most - len(targets)]
        if len(sources) == most:
            break
    return sources, targets


def batches(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the sources and the targets of some pairs of a split after the other."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, columns=["source", "target"]):
            yield batch["source"].to_pylist(), batch["target"].to_pylist()
