"""Assign pairs to splits, so that training sees no sentence of a held-out split (validation or test).

Two sentences count as the same if their keys are equal (keys.py). The training pairs are put in the order of a digest
of their source's key and of the seed. Then pairs with the same source stand together, the order is random but the same
in every run, and the first keys are a random choice for the held-out splits. A range of digests can be looked at
without the rest, so the corpus need not fit into the memory.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from ..plumbing.errors import UserError
from . import pair_files
from .cleaning import Cleaned, Pair
from .keys import LEAK_WORDS, keys
from .languages import count_words
from .similarity import References

Digests = NDArray[np.uint64]
Mask = NDArray[np.bool_]


def digests_of(found: Sequence[str], seed: int) -> Digests:
    """Return 64 bits of the sha256 of each key with the seed.

    Among a hundred million keys, two have the same digest with a probability of 3e-4. They would be taken for the same
    source, so both would be in the same split.
    """
    digests = (hashlib.sha256(f"{seed} {key}".encode()).digest() for key in found)
    return np.fromiter((int.from_bytes(digest[:8], "big") for digest in digests), np.uint64, len(found))


def hashes_of(found: Sequence[str]) -> Digests:
    """Return 64 bits of a fast hash of each key."""
    return np.fromiter((xxhash.xxh3_64_intdigest(key.encode()) for key in found), np.uint64, len(found))


def keyed(cleaned: Cleaned, seed: int) -> pa.Table:
    """Return a table of the pairs in the order of their digests; those with the same digest stay in their order.

    The columns are source, target, origin, key (of the source), digest (of this key), target_hash (of the target's
    key), and has_text: whether both sides have text.
    """
    sources, targets = zip(*cleaned.keys, strict=True) if cleaned.keys else ((), ())
    columns = {
        "key": pa.array(sources, pa.string()),
        "digest": pa.array(digests_of(sources, seed)),
        "target_hash": pa.array(hashes_of(targets)),
        "has_text": pa.array(cleaned.has_text, pa.bool_()),
    }
    table = pair_files.table_of(cleaned.pairs)
    for name, column in columns.items():
        table = table.append_column(name, column)
    return _in_order(table)


def merged(tables: Iterable[pa.Table], first: int, last: int) -> pa.Table:
    """Return the rows of several keyed tables whose digest is from `first` to `last`, as one keyed table."""
    rows = []
    for table in tables:
        begin = np.searchsorted(digests_in(table), np.uint64(first))
        end = np.searchsorted(digests_in(table), np.uint64(last), side="right")
        rows.append(table.slice(begin, end - begin))
    return _in_order(pa.concat_tables(rows))


def _in_order(table: pa.Table) -> pa.Table:
    return table.combine_chunks().take(pa.array(np.argsort(digests_in(table), kind="stable")))


def digests_in(table: pa.Table) -> Digests:
    """Return the column `digest` of a keyed table."""
    digests: Digests = table["digest"].to_numpy()
    return digests


def are_duplicates(table: pa.Table) -> Mask:
    """Return which rows of a keyed table repeat an earlier row: both source and target are equal."""
    digests = digests_in(table)
    same = np.concatenate([[False], digests[1:] == digests[:-1], [False]])
    rows = np.flatnonzero(same[1:] | same[:-1])[: len(digests)]  # those whose source occurs more than once
    some = table.select(["source", "target"]).take(pa.array(rows))
    known: set[tuple[str, str]] = set()
    found = np.zeros(len(digests), dtype=bool)
    for row, pair in zip(rows.tolist(), zip(*(side.to_pylist() for side in some.columns), strict=True), strict=True):
        found[row] = pair in known
        known.add(pair)
    return found


def candidates(table: pa.Table) -> NDArray[np.int64]:
    """Return the rows of a keyed table that can be held out: the first row with text of each digest."""
    rows: NDArray[np.int64] = np.flatnonzero(table["has_text"].to_numpy())
    return rows[np.unique(digests_in(table)[rows], return_index=True)[1]]


def cut(tables: Iterable[pa.Table], found: int, sizes: Mapping[str, int]) -> dict[str, pa.Table]:
    """Return held-out splits of the given sizes from keyed tables in the order of their digests.

    `found` is the number of their candidates. A held-out split has one pair for each key, so that no sentence counts
    twice in a score. The choice depends on the seed and the keys, not on the order of the pairs.
    """
    total = sum(sizes.values())
    if found <= total:
        wanted = " + ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"the corpus has {found} different source sentences after cleaning, too few for the held-out splits "
            f"({wanted}) and training; use a larger corpus, or lower download.validation_pairs and download.test_pairs"
        )
    parts: list[pa.Table] = []
    for table in tables:
        parts.append(table.take(pa.array(candidates(table)[: total - sum(map(len, parts))])))
        if sum(map(len, parts)) == total:
            break
    held_out, begin, splits = pa.concat_tables(parts), 0, {}
    for name, size in sizes.items():
        splits[name] = held_out.slice(begin, size)
        begin += size
    return splits


class HeldOut:
    """What the held-out splits have, so that training must not have it.

    A training pair leaks if a held-out split has the same source or the same target, compared by their keys. If
    `max_similarity` is below 1, a pair also leaks if its source is more similar than that to a held-out source.
    """

    def __init__(self, pairs: Sequence[Pair], seed: int, max_similarity: float) -> None:
        sources, targets = keys([pair.source for pair in pairs]), keys([pair.target for pair in pairs])
        self._sources = digests_of(sources, seed)
        self._targets = hashes_of([key for key in targets if count_words(key) >= LEAK_WORDS])
        self._similar = References(sorted(set(sources)), max_similarity) if pairs and max_similarity < 1 else None

    def without_leaks(self, table: pa.Table) -> tuple[pa.Table, Counter[str]]:
        """Return a keyed table of training pairs without leaks, and the number of leaks of each kind."""
        dropped: Counter[str] = Counter()

        def drop(rule: str, leaks: Mask) -> None:
            nonlocal table
            dropped[rule] = int(leaks.sum())
            table = table.filter(pa.array(~leaks)) if leaks.any() else table

        drop("source_leak", np.isin(digests_in(table), self._sources))
        drop("target_leak", np.isin(table["target_hash"].to_numpy(), self._targets))
        if self._similar:
            drop("similar_leak", self._similar.are_similar(table["key"].to_pylist()))
        return table, dropped
