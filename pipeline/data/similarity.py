"""Measure how alike two sentences are, to find near-duplicates across splits: Jaccard index of their character 5-grams.

A usual measure for de-duplicating corpora (Lee et al. 2022, arXiv 2107.06499, section 4.2, with n-grams of tokens). A
word changed or moved in a long sentence leaves most 5-grams in common; another sentence on the same matter shares few.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

GRAM = 5  # characters, blanks included
ROWS = 4000  # candidates compared at once: bounds the memory


def highest_similarities(candidates: list[str], references: list[str]) -> Iterator[float]:
    """Yield for each candidate its similarity to the reference most like it: 0 nothing in common, 1 the same ones."""
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
    """All 5-grams of a text; of a shorter one, which has none, the text itself."""
    return [text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1))]
