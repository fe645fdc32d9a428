"""Measure the similarity of sentences, to find near-duplicates: the Jaccard index of their character 5-grams.

The Jaccard index of n-grams is a usual measure for removing duplicates from corpora (Lee et al. 2022, arXiv 2107.06499,
section 4.2, with n-grams of tokens). Two long sentences that differ in one word have most 5-grams in common. Two
sentences about the same subject have few in common.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

GRAM = 5  # characters, spaces included
ROWS = 4000  # candidates compared at once, which limits the memory


def highest_similarities(candidates: list[str], references: list[str]) -> Iterator[float]:
    """Yield the similarity of each candidate to the most similar reference: from 0 (none) to 1 (the same 5-grams)."""
    vectorizer = CountVectorizer(analyzer=_grams, binary=True, dtype=np.float32)
    known = vectorizer.fit_transform(references)
    known_sizes = known.sum(axis=1).A1
    for start in range(0, len(candidates), ROWS):
        texts = candidates[start : start + ROWS]
        sizes = np.array([len(set(_grams(text))) for text in texts], dtype=np.float32)
        common = (vectorizer.transform(texts) @ known.T).tocoo()
        jaccard = common.data / (sizes[common.row] + known_sizes[common.col] - common.data)
        highest = np.zeros(len(texts), dtype=np.float32)
        np.maximum.at(highest, common.row, jaccard)
        yield from highest.tolist()


def _grams(text: str) -> list[str]:
    """Return all 5-grams of a text, or the text itself if it is shorter."""
    return [text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1))]
