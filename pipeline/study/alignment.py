"""Compare where attention looks with the links that a statistical aligner finds.

The aligner is fast_align (Dyer et al. 2013, ACL N13-1073) in the package systran-align, which exists for Python 3.11 on
Linux only. So it is optional. It reads the pieces of the training pairs and of the test set, in both directions.

Shapes: S source length, T target length, both with EOS.
"""

import importlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..data.splits import read_split
from ..data.tokenizer import PAD
from ..seq2seq.model import shifted
from .forcing import batches
from .members import Family, Member

ALIGNER = "systran_align"
MOST_PAIRS = 200_000  # of the training split that the aligner reads

Links = set[tuple[int, int]]  # (source piece, target piece)


@dataclass(frozen=True)
class Agreement:
    """How far attention is from the links of the aligner: alignment error rates from 0, the same, to 1."""

    members: dict[str, float]  # by member that attends
    diagonal: float  # of links along the diagonal, which know nothing about the words


def agreement(family: Family) -> Agreement | None:
    """Compare the members that attend with the aligner. Return None if the aligner is not installed."""
    if find_spec(ALIGNER) is None:
        return None
    links = aligned(family)
    rates = {m.name: error_rate(attended(family, m), links) for m in family.members if m.attends}
    sources, targets = _pieces(family, *family.sentences)
    straight = [diagonal(len(source), len(target)) for source, target in zip(sources, targets, strict=True)]
    return Agreement(rates, error_rate(straight, links))


def error_rate(found: Sequence[Links], expected: Sequence[Links]) -> float:
    """Return the alignment error rate of links against others that are held for sure (Och and Ney 2003, J03-1002)."""
    common = sum(len(some & others) for some, others in zip(found, expected, strict=True))
    total = sum(map(len, found)) + sum(map(len, expected))
    return 1 - 2 * common / total if total else 0.0


def diagonal(source: int, target: int) -> Links:
    """Return the link of each of `target` pieces with the one of `source` pieces at the same share of the sentence."""
    return {(t * source // target, t) for t in range(target)} if source else set()


@torch.no_grad()
def attended(family: Family, member: Member) -> list[Links]:
    """Return the links of each pair of the test set by attention.

    The decoder reads the reference. Each of its pieces is linked to the source piece with the most attention, and to
    none if that is the end of the source.
    """
    found: list[Links] = [set()] * len(family.sentences[0])
    for rows, source, lengths, target in batches(family, member):
        encoder_output = member.model.encode(source, lengths)
        state = member.model.decoder.initial_state(encoder_output)
        _, weights, _ = member.model.decode(shifted(target), encoder_output, state)
        for row, length, ids, places in zip(rows, lengths.tolist(), target, weights.argmax(dim=-1), strict=True):
            found[row] = _without_ends(places[: int((ids != PAD).sum())], length)
    return found


def aligned(family: Family) -> list[Links]:
    """Return the links of each pair of the test set by the aligner, which has also read MOST_PAIRS training pairs."""
    library = importlib.import_module(ALIGNER)
    training = read_split(family.first.evaluated.artifacts["corpus"].path("train.parquet"))
    those = _pieces(family, *family.sentences)
    learnt = _pieces(family, *(list(side)[:MOST_PAIRS] for side in training))
    with tempfile.TemporaryDirectory() as scratch:
        pairs, *probabilities = (str(Path(scratch) / name) for name in ("pairs", "forward", "backward"))
        with open(pairs, "w", encoding="utf-8") as file:
            file.writelines(_lines(*learnt))
            file.writelines(_lines(*those))
        library.generate_alignment_probabilities(pairs, *probabilities, favor_diagonal=True, optimize_tension=True)
        results = library.Aligner(*probabilities).align_batch(*those)
    return [set(map(tuple, result["alignments"])) for result in results]


def _without_ends(places: Tensor, length: int) -> Links:
    """Return the links of target pieces that look at `places` (T,), without those from or to the end of a sentence."""
    return {(s, t) for t, s in enumerate(places[:-1].tolist()) if s < length - 1}


def _pieces(family: Family, sources: list[str], targets: list[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the pieces of some pairs as words for the aligner, without EOS."""
    tokenizer = family.first.translator.tokenizer
    both = tokenizer.encode_source(sources), tokenizer.encode_target(targets)
    source, target = ([[str(i) for i in ids[:-1]] for ids in side] for side in both)
    return source, target


def _lines(sources: list[list[str]], targets: list[list[str]]) -> Iterator[str]:
    """Yield each pair of which no side is empty as the aligner reads it."""
    for source, target in zip(sources, targets, strict=True):
        if source and target:
            yield f"{' '.join(source)} ||| {' '.join(target)}\n"
