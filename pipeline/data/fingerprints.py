"""Record the training sentences of a model as digests, and find test sentences among them.

A reviewer needs neither the training corpus nor permission to read it. Two sentences count as the same if their keys
are equal (keys.py), and a target counts only if it has LEAK_WORDS words. A digest has 64 bits. With a million
training sentences and a thousand test sentences, the probability of a false match is below 1e-10.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..plumbing.errors import UserError
from .facts import Side
from .keys import LEAK_WORDS, keys
from .languages import count_words

SentenceDigests = np.ndarray[tuple[int], np.dtype[np.uint64]]

LARGEST = 2 << 30  # bytes, enough for 134 million pairs

# If the rule for keys has changed since a file was written, nothing in the file matches. This must not be reported as
# "no leak". So each file contains the digest of this text, which shows whether the rule is the same. The text has
# everything that such rules may treat differently: case, accents, combining marks, punctuation, width, digits,
# placeholders, emoji.
PROBE = (
    "Größe I’m п'ять o‘z co-op so\u00adft Ａﾊﾞ e\u0301 %(n)d {x} {a b} a%20b %5 <b>1,5</b> दिल เสื้อ 日本語 "
    "\u200cها\u200d \u0130 $20 _x_ 🩷 👩\u200d🚀 пʼять kọ\u0301’mọ"
)


def fingerprints(batches: Iterable[tuple[Sequence[str], Sequence[str]]]) -> bytes:
    """Return a NumPy archive with the digests of each side, sorted and without repetitions: 8 bytes each.

    `batches` has the sources and the targets of some pairs after the other.
    """
    digests = [(_digests(sources), _digests(targets)) for sources, targets in batches]
    source, target = (np.unique(np.concatenate(side)) for side in zip(*digests, strict=True))
    file = io.BytesIO()
    np.savez(file, source=source, target=target, probe=_digests([PROBE]))
    return file.getvalue()


def find_known(path: Path, sources: Sequence[str], targets: Sequence[str]) -> dict[int, Side] | None:
    """Return the index of each pair that has a side among the fingerprints in `path`, and which side it is.

    If both sides are among them, it is the source. Return None if the file was written with another rule for keys, so
    that nothing can be found.
    """
    known_sources, known_targets, probe = _read_archive(path)
    if not np.array_equal(probe, _digests([PROBE])):
        return None
    source = np.isin(_digests(sources), known_sources)
    target = np.isin(_digests(targets), known_targets)
    target &= np.array([count_words(key) >= LEAK_WORDS for key in keys(targets)], dtype=bool)
    return {int(i): "source" if source[i] else "target" for i in np.flatnonzero(source | target)}


def _read_archive(path: Path) -> tuple[SentenceDigests, SentenceDigests, SentenceDigests]:
    """Return the digests of source, target and PROBE from an untrusted file. Raise UserError if its format is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())  # zipfile unpacks no more than this
        if size > LARGEST:
            raise ValueError(f"{size:,} bytes when unpacked, expected at most {LARGEST:,}")
        with np.load(path, allow_pickle=False) as known:
            source, target, probe = (known[name] for name in ("source", "target", "probe"))
        for digests in (source, target, probe):
            if digests.dtype != np.uint64 or digests.ndim != 1:
                raise ValueError(f"got an array of {digests.dtype}, expected a list of uint64")
    except Exception as error:  # an untrusted file can be wrong in any way
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path.name}: not the fingerprints of a training corpus: {reason:.200}; register the model again with the "
            "data that it was trained on: make register"
        ) from None
    return source, target, probe


def _digests(sentences: Sequence[str]) -> SentenceDigests:
    digests = (hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8) for key in keys(sentences))
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], dtype=np.uint64)
