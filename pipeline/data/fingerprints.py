"""Tell which sentences a model was trained on, by digests: enough to find a test sentence among them.

A reviewer needs neither the training corpus nor a right to read it. Two sentences count as the same where their keys
are equal, and a target must have LEAK_WORDS words to count, as in the corpus (see splitting.py). 64 bits: among a
million training and a thousand test sentences the chance of a false alarm is below one in ten thousand million.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from .languages import count_words
from .splitting import LEAK_WORDS, key

Side = Literal["source", "target"]

# Digests made with another rule for keys find nothing, which must not read as "no leak". So a file has the digest of a
# text that holds what rules differ in: case, accents, combining marks, punctuation, digits, placeholders, emoji.
PROBE = "Größe I’m co-op e\u0301 %(n)d {x} <b>1,5</b> दिल เสื้อ 日本語 \u200cها\u200d \u0130 $20 _x_ 🩷 👩\u200d🚀"


def fingerprints(sources: Iterable[str], targets: Iterable[str]) -> bytes:
    """Return a NumPy archive of the digests of each side, sorted, each once: eight bytes a sentence and side."""
    file = io.BytesIO()
    np.savez(file, source=np.unique(_digests(sources)), target=np.unique(_digests(targets)), probe=_digests([PROBE]))
    return file.getvalue()


def find_known(path: Path, sources: Sequence[str], targets: Sequence[str]) -> dict[int, Side] | None:
    """Return the places of the pairs of which a side is among the fingerprints in `path`, with the first such side.

    None if keys were made in another way when the file was written: then nothing can be found.
    """
    with np.load(path, allow_pickle=False) as known:
        if not np.array_equal(known["probe"], _digests([PROBE])):
            return None
        source = np.isin(_digests(sources), known["source"])
        target = np.isin(_digests(targets), known["target"])
    target &= np.array([count_words(key(text)) >= LEAK_WORDS for text in targets], dtype=bool)
    return {int(i): "source" if source[i] else "target" for i in np.flatnonzero(source | target)}


def _digests(sentences: Iterable[str]) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    digests = (hashlib.blake2b(key(sentence).encode("utf-8", "surrogatepass"), digest_size=8) for sentence in sentences)
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], dtype=np.uint64)
