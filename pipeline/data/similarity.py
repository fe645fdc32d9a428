"""Measure the similarity of sentences, to find near-duplicates: the Jaccard index of their character 5-grams.

The Jaccard index of n-grams is a usual measure for removing duplicates from corpora (Lee et al. 2022, arXiv 2107.06499,
section 4.2, with n-grams of tokens). Two long sentences that differ in one word have most 5-grams in common. Two
sentences about the same subject have few in common.

A 5-gram is represented by 52 bits of a hash. Among 60,000 5-grams of references, one of a sentence with 60 is taken for
another with a probability of 1e-9. Then the similarity changes by about a hundredth.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .characters import MULTIPLIER, codes_of, mixed

GRAM = 5  # characters, spaces included
ROWS = 4096  # texts compared at once, which limits the memory
ROUNDING = 1e-6  # of numbers of 5-grams
HASH_BITS = 52  # beside the number of a row, in 64 bits
FIRST_BITS = 21  # of a hash: a table of 2 MB, which fits into a cache, says whether a 5-gram may be known

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Sizes = NDArray[np.int64]


class References:
    """N texts with which others are compared."""

    def __init__(self, texts: Sequence[str], threshold: float = 0.0) -> None:
        """`are_similar` finds the texts that are more similar than `threshold` to one of these texts."""
        self._threshold = threshold
        parts = [_grams(texts[start : start + ROWS]) for start in range(0, len(texts), ROWS)]
        self._sizes, grams = map(np.concatenate, zip(*parts, strict=True))
        self._all = _Known(self._sizes, grams)
        rare_sizes, rare = _rarest(self._sizes, grams, threshold / 2)
        self._rare, self._common_sizes = _Known(rare_sizes, rare), self._sizes - rare_sizes

    def highest(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the similarity of each text to the most similar reference: from 0 (none) to 1 (the same 5-grams)."""
        highest = np.zeros(len(texts))
        for start in range(0, len(texts), ROWS):
            sizes, grams = _grams(texts[start : start + ROWS])
            rows, references, shared = self._all.shared(sizes, grams)
            np.maximum.at(highest, rows + start, shared / (sizes[rows] + self._sizes[references] - shared))
        return highest

    def are_similar(self, texts: Sequence[str]) -> Mask:
        """Return whether each text is more similar than the threshold to one of the references.

        Most texts are told apart by the rare 5-grams of the references. Those that many references have would take the
        most time (as in Bayardo et al. 2007, doi 10.1145/1242572.1242591). If a text of M 5-grams shares K with a
        reference of N, its similarity is K / (M + N - K). So for a similar one K > t (M + N) / (1 + t), and since K is
        at most M, K > t N. All of these K but the common ones are rare.
        """
        found, t = np.zeros(len(texts), dtype=bool), self._threshold
        for start in range(0, len(texts), ROWS):
            some = texts[start : start + ROWS]
            rows, references, shared = self._rare.shared(*_grams(some, self._rare.may_have))
            at_most = shared + self._common_sizes[references]
            is_near = at_most > t * self._sizes[references] - ROUNDING
            near, pairs = np.unique(rows[is_near], return_inverse=True)
            sizes, _ = _grams([some[row] for row in near.tolist()])
            both = sizes[pairs] + self._sizes[references[is_near]]
            near = near[np.unique(pairs[at_most[is_near] > t * both / (1 + t) - ROUNDING])]
            found[near + start] = self.highest([some[row] for row in near.tolist()]) > t
        return found


def _rarest(sizes: Sizes, grams: Hashes, left_out: float) -> tuple[Sizes, Hashes]:
    """Return the 5-grams of each reference but for a share: those that the most references have."""
    _, numbers, counts = np.unique(grams, return_inverse=True, return_counts=True)
    order = np.lexsort((counts[numbers], np.repeat(np.arange(len(sizes)), sizes)))  # of each, from the rarest on
    places = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    left = sizes - np.floor(left_out * sizes).astype(np.int64)
    return left, grams[order[places < np.repeat(left, sizes)]]


class _Known:
    """Which of N references has which 5-grams."""

    def __init__(self, sizes: Sizes, grams: Hashes) -> None:
        self._grams = np.unique(grams)
        self.may_have = np.zeros(2**FIRST_BITS, dtype=bool)  # by the first bits of a hash
        self.may_have[self._grams >> np.uint64(HASH_BITS - FIRST_BITS)] = True
        self._references = self._matrix(sizes, grams).T.tocsr()

    def shared(self, sizes: Sizes, grams: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return each text and each reference that share 5-grams, as numbers, and how many they share."""
        common = self._matrix(sizes, grams) @ self._references
        rows = np.repeat(np.arange(len(sizes)), np.diff(common.indptr))
        return rows, common.indices, common.data.astype(np.float64)

    def _matrix(self, sizes: Sizes, grams: Hashes) -> csr_array:
        """Return a matrix with a row for each text and a column for each known 5-gram: 1 where the text has it."""
        columns = np.minimum(np.searchsorted(self._grams, grams), len(self._grams) - 1)
        is_known = self._grams[columns] == grams
        ends = np.concatenate([[0], np.cumsum(sizes)])
        row_ends = np.concatenate([[0], np.cumsum(is_known)])[ends]
        ones = np.ones(int(is_known.sum()), dtype=np.float32)
        return csr_array((ones, columns[is_known], row_ends), shape=(len(sizes), len(self._grams)))


def _grams(texts: Sequence[str], chosen: Mask | None = None) -> tuple[Sizes, Hashes]:
    """Return how many different 5-grams each of N texts has, and the hashes of these, text by text, in order.

    A text that is shorter counts as one 5-gram. With `chosen`, only 5-grams count whose first bits it has.
    """
    padding = "\0" * GRAM
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    counts = np.maximum(1, lengths - GRAM + 1)
    begins = np.cumsum(lengths + GRAM) - (lengths + GRAM)  # of each text between paddings
    places = np.arange(int(counts.sum())) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
    codes = codes_of("".join(text + padding for text in texts)).astype(np.uint64)
    hashes = np.zeros(max(0, len(codes) - GRAM + 1), dtype=np.uint64)  # of the 5-gram that begins at each place
    for step in range(GRAM):
        hashes += codes[step : len(hashes) + step]
        hashes += np.uint64(1)
        hashes *= MULTIPLIER
    hashes = mixed(hashes)[places] >> np.uint64(64 - HASH_BITS)
    rows = np.repeat(np.arange(len(texts), dtype=np.uint64), counts)
    if chosen is not None:
        kept = chosen[hashes >> np.uint64(HASH_BITS - FIRST_BITS)]
        rows, hashes = rows[kept], hashes[kept]
    keys = (rows << np.uint64(HASH_BITS)) | hashes
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]]
    sizes = np.bincount((keys >> np.uint64(HASH_BITS)).astype(np.int64), minlength=len(texts))
    return sizes, keys & np.uint64(2**HASH_BITS - 1)
