"""Keep the shards of the encoded training split: in the artifact, or in a store that may be larger than the disk.

A store is a directory that fsspec can reach, such as `s3://bucket/path`. A shard's name contains a part of its sha256.
So many experiments can share a store, and a shard is never replaced by another.
"""

import hashlib
import mmap
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..plumbing.artifacts import Artifact, rebuild, sha256_of
from ..plumbing.errors import UserError
from .encoding import EncodedSplit, LengthCounts, open_split, read_split_from
from .facts import EncodedFacts, EncodedSplitFacts, ShardFacts

SHARD = "shard.arrow"  # a shard that is being made
LENGTHS = "lengths.parquet"  # how many pairs of each shard have each combination of lengths
CHUNK = 1 << 20  # bytes copied at once
PAUSES = (1.0, 2.0, 4.0)  # seconds between the tries of a request

Result = TypeVar("Result")


class ShardWriter:
    """Writes the shards of a draft, or uploads them to a store, and then writes what the plan of training needs."""

    def __init__(self, directory: Path, store: str | None) -> None:
        self._directory, self._store = directory, store
        self._counts: list[LengthCounts] = []
        self.shards: list[ShardFacts] = []
        self.total = EncodedSplitFacts(pairs=0, too_long=0, source_tokens=0, target_tokens=0)

    def add(self, file: Path, counts: EncodedSplitFacts) -> None:
        """Take a shard that `encode_split` wrote; drop it if it is empty. Raise UserError if the store refuses it."""
        total = self.total.model_dump()
        self.total = EncodedSplitFacts(**{name: total[name] + n for name, n in counts.model_dump().items()})
        if not counts.pairs:
            return
        sha256 = sha256_of(file)
        name = f"train-{len(self.shards):05}-{sha256[:16]}.arrow"
        self.shards.append(ShardFacts(name=name, pairs=counts.pairs, bytes=file.stat().st_size, sha256=sha256))
        self._counts.append(LengthCounts.of(open_split(file)))
        if self._store is None:
            file.rename(self._directory / name)
        else:
            _upload(file, self._store, name)

    def close(self) -> None:
        """Write the counts of lengths."""
        sizes = [len(counts.pairs) for counts in self._counts]
        columns: dict[str, Any] = {"shard": np.repeat(np.arange(len(sizes)), sizes)}
        for name in ("source", "target", "pairs"):
            columns[name] = np.concatenate([getattr(counts, name) for counts in self._counts])
        pq.write_table(pa.table(columns), self._directory / LENGTHS)
        (self._directory / SHARD).unlink(missing_ok=True)


class EncodedShards:
    """The shards of an encoded corpus. A thread fetches those that are needed soon, and checks their sha256."""

    def __init__(self, encoded: Artifact) -> None:
        self._encoded, self._facts = encoded, EncodedFacts.of(encoded)
        table = pq.read_table(encoded.path(LENGTHS))
        shard, source, target, pairs = (table[name].to_numpy() for name in ("shard", "source", "target", "pairs"))
        cuts = np.searchsorted(shard, range(1, len(self._facts.shards)))
        sides = (np.split(column, cuts) for column in (source, target, pairs))
        self.counts: Sequence[LengthCounts] = [LengthCounts(*columns) for columns in zip(*sides, strict=True)]
        self._fetcher = ThreadPoolExecutor(1, "shards")
        self._fetched: dict[int, Future[EncodedSplit]] = {}

    def name(self, number: int) -> str:
        return self._facts.shards[number].name

    def keep(self, numbers: Iterable[int]) -> None:
        """Begin to fetch these shards, in this order, and give up all others."""
        wanted = list(numbers)
        for number in set(self._fetched) - set(wanted):
            self._fetched.pop(number).cancel()
        for number in wanted:
            if number not in self._fetched:
                self._fetched[number] = self._fetcher.submit(self._fetch, number)

    def open(self, number: int) -> EncodedSplit:
        """Return a shard, and wait until it is here. Raise UserError if it cannot be read."""
        future = self._fetched.get(number)
        return future.result() if future else self._fetch(number)

    def _fetch(self, number: int) -> EncodedSplit:
        facts, encoded = self._facts.shards[number], self._encoded
        if self._facts.store is None:
            return open_split(encoded.path(facts.name))
        return read_split_from(_download(self._facts.store, facts, rebuild(encoded.directory, encoded.target)))


def _upload(file: Path, store: str, name: str) -> None:
    file_system, path = _open(store)

    def upload() -> None:
        if file_system.root_marker:  # object storage has no root; it has no directories, and would make a bucket
            file_system.makedirs(path, exist_ok=True)
        file_system.put_file(str(file), f"{path}/{name}")

    _attempt(
        f"encode.store: {store}/{name} cannot be written",
        upload,
        "check the address and the access to it, then run the same command again",
    )


def _download(store: str, facts: ShardFacts, remedy: str) -> pa.Buffer:
    """Return the content of a shard, in a file without a name, which vanishes when nobody uses the content."""
    file_system, path = _open(store)

    def download() -> pa.Buffer:
        digest = hashlib.sha256()
        with file_system.open(f"{path}/{facts.name}", "rb") as remote, tempfile.TemporaryFile() as local:
            while chunk := remote.read(CHUNK):
                digest.update(chunk)
                local.write(chunk)
            local.flush()
            if digest.hexdigest() != facts.sha256:
                raise OSError(f"its sha256 is {digest.hexdigest()}, expected {facts.sha256}")
            return pa.py_buffer(mmap.mmap(local.fileno(), 0, access=mmap.ACCESS_READ))

    return _attempt(
        f"encode.store: {store}/{facts.name} cannot be read",
        download,
        f"check the network, then run the same command again; to write the shards again, {remedy}",
    )


def _open(store: str) -> tuple[Any, str]:
    """Return the file system of a store, and the store's path in it."""
    try:
        file_system, path = fsspec.url_to_fs(store)
    except (ImportError, ValueError) as error:  # a package that is not installed, or an unknown protocol
        raise UserError(f"encode.store: got {store}: {error}") from None
    return file_system, path.rstrip("/")


def _attempt(failure: str, request: Callable[[], Result], remedy: str) -> Result:
    """Return the result of a request. Repeat it after a failure. Raise UserError if it does not succeed."""
    for pause in [*PAUSES, None]:
        try:
            return request()
        except Exception as error:  # each protocol has errors of its own
            if pause is None or isinstance(error, FileNotFoundError | PermissionError):
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"{failure}: {type(error).__name__}: {reason}; {remedy}") from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")
