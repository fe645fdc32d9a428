"""Say which sentences count as the same: those with the same key.

Two sentences have the same key if they differ only in case, punctuation, digits, placeholders and white space.
"""

from collections.abc import Iterable

import numpy as np

from .characters import kind_of
from .languages import UNSPACED_LETTER, words_only
from .placeholders import without_placeholders
from .texts import Texts, in_batches

LEAK_WORDS = 3  # a target with fewer words ("Settings") is no leak, because it is too common


def keys(texts: Iterable[str]) -> list[str]:
    """Return the words of each sentence in lower case. A sentence and its trivial variants have the same key."""
    found: list[str] = []
    for batch in in_batches(texts, len):
        found += keys_in(Texts(list(map(without_placeholders, batch))), Texts(batch))
    return found


def keys_in(plain: Texts, whole: Texts) -> list[str]:
    """Return the key of each text in `whole`. `plain` has these texts without placeholders."""
    found = list(plain.in_words)
    for row in np.flatnonzero(plain.has(kind_of(UNSPACED_LETTER))).tolist():
        found[row] = words_only(plain.texts[row])
    return [key or text for key, text in zip(found, whole.texts, strict=True)]
