"""Tell which sentences a model was trained on, by digests: enough to find a test sentence among them.

A reviewer needs neither the training corpus nor a right to read it. Two sentences count as the same where their keys
are equal, and a target must have LEAK_WORDS words to count, as in the corpus (see splitting.py). 64 bits: among a
million training and a thousand test sentences the chance of a false alarm is below one in ten thousand million.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ..plumbing.errors import UserError
from .languages import count_words
from .splitting import LEAK_WORDS, key

Side = Literal["source", "target"]
SentenceDigests = np.ndarray[tuple[int], np.dtype[np.uint64]]

LARGEST = 2 << 30  # bytes: those of 134 million pairs

# Digests made with another rule for keys find nothing, which must not read as "no leak". So a file has the digest of
# a text with what rules differ in: case, accents, combining marks, punctuation, width, digits, placeholders, emoji.
PROBE = (
    "Größe I’m п'ять o‘z co-op so\u00adft Ａﾊﾞ e\u0301 %(n)d {x} {a b} a%20b %5 <b>1,5</b> दिल เสื้อ 日本語 "
    "\u200cها\u200d \u0130 $20 _x_ 🩷 👩\u200d🚀"
)


def fingerprints(sources: Iterable[str], targets: Iterable[str]) -> bytes:
    """Return a NumPy archive of the digests of each side, sorted, each once: eight bytes a sentence and side."""
    file = io.BytesIO()
    np.savez(file, source=np.unique(_digests(sources)), target=np.unique(_digests(targets)), probe=_digests([PROBE]))
    return file.getvalue()


def find_known(path: Path, sources: Sequence[str], targets: Sequence[str]) -> dict[int, Side] | None:
    """Return the places of the pairs of which a side is among the fingerprints in `path`, with the first such side.

    None if keys were made in another way when the file was written: then nothing can be found.
    """
    known_sources, known_targets, probe = _read(path)
    if not np.array_equal(probe, _digests([PROBE])):
        return None
    source = np.isin(_digests(sources), known_sources)
    target = np.isin(_digests(targets), known_targets)
    target &= np.array([count_words(key(text)) >= LEAK_WORDS for text in targets], dtype=bool)
    return {int(i): "source" if source[i] else "target" for i in np.flatnonzero(source | target)}


def _read(path: Path) -> tuple[SentenceDigests, SentenceDigests, SentenceDigests]:
    """Return what `fingerprints` put into a file, which is not trusted. UserError if it is something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())  # no more than that is unpacked
        if size > LARGEST:
            raise ValueError(f"{size:,} bytes when unpacked, expected at most {LARGEST:,}")
        with np.load(path, allow_pickle=False) as known:
            source, target, probe = (known[name] for name in ("source", "target", "probe"))
        for digests in (source, target, probe):
            if digests.dtype != np.uint64 or digests.ndim != 1:
                raise ValueError(f"got an array of {digests.dtype}, expected a list of uint64")
    except Exception as error:  # a stranger's file: there is no end of what may be wrong with it
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path.name}: not the fingerprints of a training corpus: {reason:.200}; register the model again with the "
            "data that it was trained on: make register"
        ) from None
    return source, target, probe


def _digests(sentences: Iterable[str]) -> SentenceDigests:
    digests = (hashlib.blake2b(key(sentence).encode("utf-8", "surrogatepass"), digest_size=8) for sentence in sentences)
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], dtype=np.uint64)
