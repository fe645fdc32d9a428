"""Show a beam search as a tree: every hypothesis that was open, where it attended, and where it was given up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..data.tokenizer import EOS
from ..seq2seq.search import Step, explore
from .members import Member
from .walk import greedy


@dataclass(frozen=True)
class Node:
    """A hypothesis after one step."""

    parent: int | None  # its place in the list of nodes; None: it is the first piece
    step: int  # counted from 0
    piece: str
    log_p: float  # of the whole hypothesis
    score: float  # log_p / length ** length_penalty
    attended: int | None  # the source piece with the largest weight; None: a fixed vector
    end: str  # "" if it goes on, "complete", "cut off" at the limit of the length, or "given up"


@dataclass(frozen=True)
class Tree:
    """The search for the translation of one sentence."""

    source: str
    pieces: list[str]  # of the source
    beam_size: int
    nodes: list[Node]
    best: list[int]  # the nodes of the translation, from its first piece to its last
    translation: str
    greedy: str  # the translation that greedy search finds


@torch.no_grad()
def tree(member: Member, sentence: str) -> Tree:
    """Search for the translation of a sentence, as the evaluation did, and return all hypotheses."""
    tokenizer, settings = member.translator.tokenizer, member.search
    source = torch.tensor(tokenizer.encode_source([sentence]))
    length = source.shape[1]
    steps, (ended,) = explore(
        member.translator.inference,
        source,
        torch.tensor([length]),
        settings.beam_size,
        settings.length_penalty,
        [2 * length + 10],
    )
    nodes: list[Node] = []
    before: dict[int, int | None] = {0: None}  # hypothesis of the step before -> its node
    cut = {(each.length - 1, each.k) for each in ended if not each.is_complete}
    for number, step in enumerate(steps):
        here: dict[int, int | None] = {}
        following = _parents(steps[number + 1]) if number + 1 < len(steps) else set()
        for k, score in enumerate(step.scores[0].tolist()):
            if not math.isfinite(score):  # a hypothesis that had ended has no successor
                continue
            parent, token = int(step.parents[0, k]), int(step.tokens[0, k])
            end = "complete" if token == EOS else "cut off" if (number, k) in cut else "given up"
            here[k] = len(nodes)
            nodes.append(
                Node(
                    parent=before[parent],
                    step=number,
                    piece=tokenizer.target_pieces([token])[0],
                    log_p=round(score, 3),
                    score=round(score / (number + 1) ** settings.length_penalty, 3),
                    attended=int(step.weights[0, parent].argmax()) if member.attends else None,
                    end="" if k in following else end,
                )
            )
        if number == ended[0].length - 1:
            last = here[ended[0].k]
        before = here
    (best,) = member.translator.translate([sentence], settings.beam_size, settings.length_penalty)
    return Tree(
        source=sentence,
        pieces=tokenizer.source_pieces(source[0].tolist()),
        beam_size=settings.beam_size,
        nodes=nodes,
        best=_path(nodes, last),
        translation=best.text,
        greedy=tokenizer.decode_target([greedy(member, source, [])])[0],
    )


def _parents(step: Step) -> set[int]:
    """Return the hypotheses that a step continues."""
    return {int(k) for k, score in zip(step.parents[0], step.scores[0], strict=True) if math.isfinite(score)}


def _path(nodes: Sequence[Node], last: int | None) -> list[int]:
    """Return the places of the nodes from the first to `last`."""
    path = []
    while last is not None:
        path.append(last)
        last = nodes[last].parent
    return path[::-1]
