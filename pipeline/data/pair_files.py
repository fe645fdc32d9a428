"""Keep sentence pairs in Arrow files of limited size, so that a corpus of any size passes through a small memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from .cleaning import Pair
from .texts import in_batches

PAIRS, CHARACTERS = 20_000, 20_000_000  # of a file, at most


def write(table: pa.Table, path: Path) -> None:
    """Write a table. The file has its name only when it is whole."""
    scratch = path.with_suffix(".tmp")
    with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    scratch.replace(path)


def read(path: Path) -> pa.Table:
    """Return the table of a file. Its columns stay in the file, which is mapped into memory."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def spool(pairs: Iterable[Pair], directory: Path) -> Iterator[Path]:
    """Write pairs into files of PAIRS or CHARACTERS: raw-00000.arrow and so on. Yield each when it is written."""
    batches = in_batches(pairs, lambda pair: len(pair.source) + len(pair.target), PAIRS, CHARACTERS)
    for number, batch in enumerate(batches):
        path = directory / f"raw-{number:05}.arrow"
        write(table_of(batch), path)
        yield path


def table_of(pairs: Iterable[Pair]) -> pa.Table:
    """Return a table with the columns source, target and origin."""
    source, target, origin = list(zip(*pairs, strict=True)) or ((), (), ())
    return pa.table(
        {
            "source": pa.array(source, pa.string()),
            "target": pa.array(target, pa.string()),
            "origin": pa.array(origin, pa.int32()),
        }
    )


def pairs_of(table: pa.Table) -> list[Pair]:
    """Return the pairs of a table."""
    columns = (table[name].to_pylist() for name in Pair._fields)
    return [Pair(*row) for row in zip(*columns, strict=True)]
