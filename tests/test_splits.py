"""Reading a split of the corpus: all pairs, the first ones, or in batches."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import splits
from pipeline.data.splits import batches, read_split

PAIRS = [(f"one {n}", f"eins {n}") for n in range(10)]


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(splits, "BATCH", 4)
    table = pa.table({"source": [s for s, _ in PAIRS], "target": [t for _, t in PAIRS]})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=3)
    return tmp_path / "train.parquet"


@pytest.mark.parametrize(("most", "expected"), [(None, 10), (1, 1), (4, 4), (5, 5), (10, 10), (99, 10)])
def test_the_first_pairs_are_read(parquet: Path, most: int | None, expected: int) -> None:
    assert list(zip(*read_split(parquet, most), strict=True)) == PAIRS[:expected]


def test_batches_have_all_pairs_in_order(parquet: Path) -> None:
    found = list(batches(parquet))
    assert all(len(sources) <= 4 for sources, _ in found)
    assert [pair for some in found for pair in zip(*some, strict=True)] == PAIRS
