"""Measure the similarity of sentences, to find near-duplicates: the Jaccard index of their character 5-grams.

The Jaccard index of n-grams is a usual measure for removing duplicates from corpora (Lee et al. 2022, arXiv 2107.06499,
section 4.2, with n-grams of tokens). Two long sentences that differ in one word have most 5-grams in common. Two
sentences about the same subject have few in common.

A 5-gram is represented by 52 bits of a hash. Among 60,000 5-grams of references, one of a sentence with 60 is taken for
another with a probability of 1e-9. Then the similarity changes by about a hundredth.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .characters import codes_of

GRAM = 5  # characters, spaces included
ROWS = 4096  # candidates compared at once, which limits the memory
HASH_BITS = 52  # beside the number of a row, in 64 bits
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, with as many ones as zeros; the hash is a polynomial of it

Hashes = NDArray[np.uint64]


def highest_similarities(candidates: Sequence[str], references: Sequence[str]) -> Iterator[float]:
    """Yield the similarity of each candidate to the most similar reference: from 0 (none) to 1 (the same 5-grams)."""
    parts = [_grams(references[start : start + ROWS]) for start in range(0, len(references), ROWS)]
    known_sizes, all_grams = map(np.concatenate, zip(*parts, strict=True))
    known_grams = np.unique(all_grams)
    known = _matrix(known_sizes, all_grams, known_grams).T.tocsr()
    for start in range(0, len(candidates), ROWS):
        sizes, grams = _grams(candidates[start : start + ROWS])
        common = _matrix(sizes, grams, known_grams) @ known
        rows = np.repeat(np.arange(len(sizes)), np.diff(common.indptr))
        shared = common.data.astype(np.float64)
        jaccard = shared / (sizes[rows] + known_sizes[common.indices] - shared)
        highest = np.zeros(len(sizes))
        np.maximum.at(highest, rows, jaccard)
        yield from highest.tolist()


def _grams(texts: Sequence[str]) -> tuple[NDArray[np.int64], Hashes]:
    """Return how many different 5-grams each of N texts has, and the hashes of these, text by text, in order.

    A text that is shorter counts as one 5-gram.
    """
    padding = "\0" * GRAM
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    counts = np.maximum(1, lengths - GRAM + 1)
    rows = np.repeat(np.arange(len(texts)), counts)
    begins = np.cumsum(lengths + GRAM) - (lengths + GRAM)  # of each text between paddings
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + begins[rows]
    codes = codes_of("".join(text + padding for text in texts)).astype(np.uint64)
    hashes = np.zeros(max(0, len(codes) - GRAM + 1), dtype=np.uint64)  # of the 5-gram that begins at each place
    for step in range(GRAM):
        hashes = (hashes + codes[step : len(hashes) + step] + np.uint64(1)) * MULTIPLIER
    mixed = (hashes ^ (hashes >> np.uint64(32))) * MULTIPLIER
    keys = (rows.astype(np.uint64) << np.uint64(HASH_BITS)) | (mixed[places] >> np.uint64(64 - HASH_BITS))
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    sizes = np.bincount((keys >> np.uint64(HASH_BITS)).astype(np.int64), minlength=len(texts))
    return sizes, keys & np.uint64(2**HASH_BITS - 1)


def _matrix(sizes: NDArray[np.int64], grams: Hashes, known: Hashes) -> csr_array:
    """Return a matrix with a row for each text and a column for each known 5-gram: 1 where the text has it."""
    columns = np.minimum(np.searchsorted(known, grams), len(known) - 1)
    is_known = known[columns] == grams
    ends = np.concatenate([[0], np.cumsum(sizes)])
    row_ends = np.concatenate([[0], np.cumsum(is_known)])[ends]
    ones = np.ones(int(is_known.sum()), dtype=np.float32)
    return csr_array((ones, columns[is_known], row_ends), shape=(len(sizes), len(known)))
