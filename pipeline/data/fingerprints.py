"""Owns which sentences a model was trained on, kept as digests: enough to find a test sentence among them.

A reviewer needs neither the training corpus nor a right to read it. Two sentences count as the same where their keys
are equal (see splitting.py). 64 bits: among a million training and a thousand test sentences the chance of a false
alarm is below one in ten thousand million.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .splitting import key


def fingerprints(sentences: Iterable[str]) -> bytes:
    """The digests of `sentences`, sorted, each once: a file of a NumPy array of uint64, eight bytes a sentence."""
    file = io.BytesIO()
    np.save(file, np.unique(_digests(sentences)), allow_pickle=False)
    return file.getvalue()


def find_known(path: Path, sentences: Sequence[str]) -> list[int]:
    """Places of those of `sentences` that are among the fingerprints in `path`."""
    known = np.load(path, allow_pickle=False)
    return [int(place) for place in np.flatnonzero(np.isin(_digests(sentences), known))]


def _digests(sentences: Iterable[str]) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    digests = (hashlib.blake2b(key(sentence).encode("utf-8", "surrogatepass"), digest_size=8) for sentence in sentences)
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], dtype=np.uint64)
