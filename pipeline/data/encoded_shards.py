"""Keep the shards of the encoded training split: in the artifact, or in a store that may be larger than the disk.

A store is a directory that fsspec can reach, such as `s3://bucket/path`. A shard's name contains a part of its sha256.
So many experiments can share a store, and a shard is never replaced by another.
"""

import errno
import hashlib
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..plumbing.artifacts import Artifact, find_manifest, rebuild, sha256_of
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
            file.unlink()

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
        self._fetched: dict[int, Future[EncodedSplit]] = {}
        self._queue: SimpleQueue[tuple[Future[EncodedSplit], int]] = SimpleQueue()
        Thread(target=self._fetch_all, daemon=True).start()  # a process that ends does not wait for it

    def name(self, number: int) -> str:
        return self._facts.shards[number].name

    def keep(self, numbers: Iterable[int]) -> None:
        """Begin to fetch these shards, in this order, and drop all others."""
        wanted = list(numbers)
        for number in set(self._fetched) - set(wanted):
            self._fetched.pop(number).cancel()
        for number in wanted:
            if number not in self._fetched:
                self._begin(number)

    def open(self, number: int) -> EncodedSplit:
        """Return a shard, and wait until it is here. Raise UserError if it cannot be read."""
        future = self._fetched.get(number) or self._begin(number)
        try:
            return future.result()
        except UserError:  # the store may have failed long ago
            return self._begin(number).result()

    def _begin(self, number: int) -> Future[EncodedSplit]:
        future = self._fetched[number] = Future()
        self._queue.put((future, number))
        return future

    def _fetch_all(self) -> None:
        while True:
            future, number = self._queue.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._fetch(number))
                except BaseException as error:
                    future.set_exception(error)

    def _fetch(self, number: int) -> EncodedSplit:
        facts, encoded, store = self._facts.shards[number], self._encoded, self._facts.store
        if store is None:
            return open_split(encoded.path(facts.name))
        return read_split_from(_download(store, facts, f"remove {store}/{facts.name}, {_remedy(encoded)}"))


def _remedy(encoded: Artifact) -> str:
    """Return how to make an artifact again. Equal ones must go too, or else the stage would take one of them."""
    others = sorted(set(encoded.directory.parent.parent.glob("*/encoded")) - {encoded.directory})
    found = {path: find_manifest(path) for path in others}
    equal = [path for path, manifest in found.items() if manifest and manifest.digest == encoded.digest]
    return "".join(f"remove {path}, " for path in equal) + rebuild(encoded.directory, encoded.target)


def _upload(file: Path, store: str, name: str) -> None:
    """Put a shard into a store, unless it is there already."""

    def upload() -> None:
        file_system, path = _open(store)
        target = f"{path}/{name}"
        if file_system.exists(target) and file_system.size(target) == file.stat().st_size:
            return
        if not file_system.root_marker:  # object storage, where a file appears whole
            file_system.put_file(str(file), target)
            return
        file_system.makedirs(path, exist_ok=True)
        file_system.put_file(str(file), partial := f"{path}/.{name}.{os.getpid()}")
        file_system.mv(partial, target)

    remedy = "check the address and the access to it, then run the same command again"
    _attempt(f"encode.store: {store}/{name} cannot be written", upload, remedy)


def _download(store: str, facts: ShardFacts, remedy: str) -> pa.Buffer:
    """Return the content of a shard, in a file without a name, which vanishes when nobody uses the content."""

    def download() -> pa.Buffer:
        file_system, path = _open(store)
        digest = hashlib.sha256()
        with file_system.open(f"{path}/{facts.name}", "rb") as remote, tempfile.TemporaryFile() as local:
            while chunk := remote.read(CHUNK):
                digest.update(chunk)
                local.write(chunk)
            local.flush()
            if digest.hexdigest() != facts.sha256:
                raise OSError(f"its sha256 is {digest.hexdigest()}, expected {facts.sha256}")
            return pa.py_buffer(mmap.mmap(local.fileno(), 0, access=mmap.ACCESS_READ))

    remedy = f"check the network, then run the same command again; to write the shard again, {remedy}"
    return _attempt(f"encode.store: {store}/{facts.name} cannot be read", download, remedy)


def _open(store: str) -> tuple[Any, str]:
    """Return the file system of a store, and the store's path in it."""
    try:
        file_system, path = fsspec.url_to_fs(store)
    except (ImportError, ValueError) as error:  # a package that is not installed, or an unknown protocol
        raise UserError(f"encode.store: got {store}: {error}; see docs/scale.md") from None
    return file_system, path.rstrip("/")


def _attempt(failure: str, request: Callable[[], Result], remedy: str) -> Result:
    """Return the result of a request. Repeat it after a failure that may be temporary.

    Raise UserError if it does not succeed, or OSError if this machine has no space for it.
    """
    for pause in [*PAUSES, None]:
        try:
            return request()
        except UserError:
            raise
        except Exception as error:  # each protocol has errors of its own
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE):
                raise
            if pause is None or isinstance(error, FileNotFoundError | PermissionError):
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"{failure}: {type(error).__name__}: {reason}; {remedy}") from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")
