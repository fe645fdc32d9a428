"""Look inside a translation: query, scores, weights, context and the likeliest words of each step, and what-ifs.

Shapes: S source pieces, T target pieces, H hidden size, N heads.
"""

import base64
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.languages import count_words
from ..data.tokenizer import BOS, EOS
from ..seq2seq.next_tokens import log_probabilities
from .members import Family, Member

SENTENCES = 6
WORDS = (5, 14)  # fewest and most words of a source, if there are such
LIKELIEST = 5
LARGEST = 127  # of the integers that stand for a vector's numbers


@dataclass(frozen=True)
class Vector:
    """A vector as 8-bit integers: `scale` times each of them, in base64, is a number of the vector."""

    scale: float
    numbers: str

    @classmethod
    def of(cls, vector: Tensor) -> "Vector":
        scale = max(float(vector.abs().max()), 1e-12) / LARGEST
        integers = (vector / scale).round().to(torch.int8)
        return cls(float(f"{scale:.4g}"), base64.b64encode(integers.numpy().tobytes()).decode())


@dataclass(frozen=True)
class Step:
    """One target step: how the next piece was chosen."""

    piece: str
    query: Vector  # (H,)
    state: Vector  # (H,): of the decoder's last layer
    context: Vector  # (H,)
    scores: list[float]  # (S,): of the query with each key; with several heads, their mean
    weights: list[float]  # (S,): softmax of the scores; with several heads, the mean over the heads of their softmax
    likeliest: list[tuple[str, float]]  # the most probable next pieces with their probabilities
    second: str  # the translation if the second-best piece is taken here


@dataclass(frozen=True)
class Walk:
    """The translation of one sentence by one member."""

    member: str
    translation: str
    keys: list[Vector]  # (S,) of (H,); one for a fixed vector
    values: list[Vector]
    steps: list[Step]


@dataclass(frozen=True)
class Sentence:
    """A sentence of the test set, and the translations of all members."""

    source: str
    reference: str
    pieces: list[str]  # of the source
    walks: list[Walk]
    deleted: list[tuple[str, str]]  # each word of the source, and the translation of the sentence without it


def sentences(family: Family, members: Sequence[Member], seed: int) -> list[Sentence]:
    """Draw sentences of the test set at random, from short to long, and look at each member's translation."""
    sources, references = family.sentences
    fitting = [i for i, source in enumerate(sources) if WORDS[0] <= count_words(source) <= WORDS[1]]
    fitting = fitting or list(range(len(sources)))
    drawn = random.Random(seed).sample(fitting, min(SENTENCES, len(fitting)))
    found = []
    for i in sorted(drawn, key=lambda i: len(sources[i])):
        tokenizer = family.attentive.translator.tokenizer
        found.append(
            Sentence(
                sources[i],
                references[i],
                tokenizer.source_pieces(tokenizer.encode_source([sources[i]])[0]),
                [walk(member, sources[i]) for member in members],
                _without_each_word(family.attentive, sources[i]),
            )
        )
    return found


@torch.no_grad()
def walk(member: Member, sentence: str) -> Walk:
    """Return the inside of a member's greedy translation of a sentence."""
    tokenizer = member.translator.tokenizer
    source = torch.tensor(tokenizer.encode_source([sentence]))
    ids = greedy(member, source, [])
    inside = _Inside(member, source, ids)
    context, state = inside.read.chunk(2, dim=-1)
    steps = []
    for t, token in enumerate(ids):
        best = inside.log_p[t].topk(LIKELIEST)
        pieces = tokenizer.target_pieces(best.indices.tolist())
        second = greedy(member, source, [*ids[:t], int(best.indices[int(best.indices[0] == token)])])
        steps.append(
            Step(
                piece=tokenizer.target_pieces([token])[0],
                query=Vector.of(inside.query[t]),
                state=Vector.of(state[t]),
                context=Vector.of(context[t]),
                scores=_rounded(inside.scores[t], 3),
                weights=_rounded(inside.weights[t], 4),
                likeliest=list(zip(pieces, _rounded(best.values.exp(), 4), strict=True)),
                second=tokenizer.decode_target([second])[0],
            )
        )
    keys, values = ([Vector.of(row) for row in side] for side in (inside.keys, inside.values))
    return Walk(member.name, tokenizer.decode_target([ids])[0], keys, values, steps)


@torch.no_grad()
def greedy(member: Member, source: Tensor, prefix: Sequence[int]) -> list[int]:
    """Return the ids of the greedy translation of source ids (1, S) that begins with `prefix`, and ends in EOS."""
    model = member.model
    encoder_output = model.encode(source, torch.tensor([source.shape[1]]))
    state, ids = model.decoder.initial_state(encoder_output), list(prefix)
    features, _, state = model.decode(torch.tensor([[BOS, *prefix]]), encoder_output, state)
    while (not ids or ids[-1] != EOS) and len(ids) < 2 * source.shape[1] + 10:
        ids.append(int(log_probabilities(model.output(features[:, -1]))[0].argmax()))
        features, _, state = model.decode(torch.tensor([[ids[-1]]]), encoder_output, state)
    return ids


class _Inside:
    """What the layers of a model compute for one sentence and its translation."""

    def __init__(self, member: Member, source: Tensor, ids: Sequence[int]) -> None:
        model, attention = member.model, member.model.decoder.attention
        seen: dict[str, Any] = {}
        handles = [
            attention.register_forward_hook(lambda _, inputs, outputs: seen.update(inputs=inputs, outputs=outputs)),
            model.decoder.register_forward_hook(lambda _, inputs, outputs: seen.update(read=outputs[0])),
        ]
        try:
            encoder_output = model.encode(source, torch.tensor([source.shape[1]]))
            state = model.decoder.initial_state(encoder_output)
            tokens = torch.tensor([[BOS, *ids[:-1]]])
            # One step at a time, because a member with input feeding attends in each step.
            rows: dict[str, list[Tensor]] = {"query": [], "scores": [], "weights": [], "read": [], "log_p": []}
            for token in tokens[0]:
                features, _, state = model.decode(token.view(1, 1), encoder_output, state)
                query, keys, _, _ = seen["inputs"]
                scores = attention.score(query, keys)  # (1, 1, S) or (1, N, 1, S)
                rows["query"].append(query[0, 0])
                rows["scores"].append(scores.flatten(0, -2).mean(dim=0))
                rows["weights"].append(seen["outputs"][1][0, 0])
                rows["read"].append(seen["read"][0, 0])
                rows["log_p"].append(log_probabilities(model.output(features[:, 0]))[0])
        finally:
            for handle in handles:
                handle.remove()
        self.query, self.scores, self.weights, self.read, self.log_p = (torch.stack(rows[name]) for name in rows)
        self.keys, self.values = encoder_output.keys[0], encoder_output.values[0]


def _without_each_word(member: Member, sentence: str) -> list[tuple[str, str]]:
    """Return each word of a sentence, and the greedy translation of the sentence without it."""
    words = sentence.split()
    if len(words) < 2:
        return []
    shorter = [" ".join(words[:n] + words[n + 1 :]) for n in range(len(words))]
    found = member.translator.translate(shorter, beam_size=1)
    return [(word, translation.text) for word, translation in zip(words, found, strict=True)]


def _rounded(numbers: Tensor, decimals: int) -> list[float]:
    return [round(number, decimals) for number in numbers.tolist()]
