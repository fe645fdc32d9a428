"""Measure how the gradient of a loss vanishes with the distance that it travels through a recurrent network.

Shapes: S source length, T target length, E embedding size, H hidden size, N sequences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data.tokenizer import BOS
from ..seq2seq.encoder import FIRST_RESIDUAL, RECURRENT
from ..seq2seq.model import Seq2Seq
from .members import Family, Member

PAIRS = 24  # sentences whose gradients are measured
LENGTHS = (16, 40)  # fewest and most pieces of their sources
STEPS = 60  # longest distance through the recurrence alone
SEQUENCES = 64  # for it
BINS = tuple(range(0, 81, 5))  # of the distances from source to target, in steps


@dataclass(frozen=True)
class Norm:
    """The size of a gradient after it travelled some steps."""

    steps: float
    norm: float  # geometric mean
    count: int


def by_distance(family: Family, member: Member) -> list[Norm]:
    """Measure the gradient of the loss at target step t with respect to the encoder's forward state at source step s.

    The distance is the number of recurrent steps between the two, S - s in the encoder and t - 1 in the decoder, both
    counted from 1. Attention is a path beside it. Each norm is divided by that of the gradient with respect to the
    decoder's features of step t, so that easy words, with small losses, count as much as hard ones.
    """
    found: dict[int, list[float]] = {}
    for source, target in _long_pairs(family, member):
        for steps, norm in _norms(member.model, source, target):
            found.setdefault(steps, []).append(norm)
    rows = []
    for low, high in zip(BINS, BINS[1:], strict=False):
        norms = torch.tensor([n for steps in range(low, high) for n in found.get(steps, [])], dtype=torch.float64)
        if len(norms) >= PAIRS:
            rows.append(Norm((low + high - 1) / 2, _geometric_mean(norms), len(norms)))
    return rows


def through_recurrence(layer: nn.Module, inputs: Tensor) -> list[Norm]:
    """Measure the gradient of a random function of the last state by the state `steps` steps before.

    `inputs` are (N, steps + 1, E). Norms are relative to that of the last state, which is 1. The state of an LSTM is
    (h, c), and the function reads h.
    """
    cells, state = [], None
    for step in torch.split(inputs, 1, dim=1):
        _, state = layer(step, state)
        cells.append(state if isinstance(state, tuple) else (state,))
    last = cells[-1][0]
    direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(1))
    flat = [part for parts in cells for part in parts]
    found = torch.autograd.grad((last * direction).sum(), flat, allow_unused=True)
    norms = torch.stack([_norm(parts) for parts in _grouped(found, len(cells))])  # (steps + 1, N)
    relative = norms / norms[-1]
    return [Norm(steps, _geometric_mean(relative[-1 - steps]), relative.shape[1]) for steps in range(len(cells))]


def recurrences(family: Family) -> Mapping[str, Mapping[str, list[Norm]]]:
    """Return the norms through each kind of cell, `untrained` and, where a member differs in the cell only, `trained`.

    The inputs are embedded pieces of the test set. Untrained layers have torch's initial weights.
    """
    alike = family.attentive.settings
    found: dict[str, dict[str, list[Norm]]] = {}
    for cell, kind in RECURRENT.items():
        member = next((m for m in family.members if m.settings == alike.model_copy(update={"cell": cell})), None)
        inputs = _embedded(family, member or family.attentive)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            fresh = kind(inputs.shape[2], alike.hidden_size // 2, batch_first=True)
        found[cell] = {"untrained": through_recurrence(fresh, inputs)}
        if member:
            found[cell]["trained"] = through_recurrence(member.model.encoder.forwards[0], inputs)
    return found


def _norms(model: Seq2Seq, source: Tensor, target: Tensor) -> list[tuple[int, float]]:
    """Return the distance and the norm for each source and target step of a pair: ids (S,) and (T,)."""
    losses, states, features = losses_of(model, source, target)
    parts = [part for state in states for part in state]
    found = []
    for t, loss in enumerate(losses):
        *by_parts, by_features = torch.autograd.grad(loss, [*parts, features], retain_graph=True, allow_unused=True)
        own = float(by_features[0, t].norm())
        for s, state in enumerate(_grouped(by_parts, len(states))):
            if own:  # the gradient of a word that is certain may be 0
                found.append((len(source) - 1 - s + t, float(_norm(state)) / own))
    return found


def losses_of(model: Seq2Seq, source: Tensor, target: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]], Tensor]:
    """Return the losses (T,) of a pair, the encoder's states that they depend on, and the decoder's features (1, T, F).

    The states are those of `unrolled`.
    """
    states, outputs = unrolled(model, model.source_embedding(source[None]))
    half = outputs.shape[2] // 2
    summary = torch.cat([outputs[:, -1, :half], outputs[:, 0, half:]], dim=-1)
    encoder_output = model.prepare(outputs, summary, torch.tensor([len(source)]))
    tokens = torch.cat([torch.tensor([BOS]), target[:-1]])
    features, _, _ = model.decode(tokens[None], encoder_output, model.decoder.initial_state(encoder_output))
    losses = -model.output(features)[0].log_softmax(dim=-1).gather(1, target[:, None])[:, 0]
    return losses, states, features


def unrolled(model: Seq2Seq, embedded: Tensor) -> tuple[list[tuple[Tensor, ...]], Tensor]:
    """Run the encoder on one sentence (1, S, E). The forward direction runs one step at a time.

    Return the states of that direction in the last layer, (h,) or (h, c) for each step, and all outputs (1, S, H).
    """
    encoder, inputs = model.encoder, embedded
    states: list[tuple[Tensor, ...]] = []
    for number, (ahead, back) in enumerate(zip(encoder.forwards, encoder.backwards, strict=True)):
        state, states = None, []
        for step in torch.split(inputs, 1, dim=1):
            _, state = ahead(step, state)
            states.append(state if isinstance(state, tuple) else (state,))
        forwards = torch.cat([h.transpose(0, 1) for h, *_ in states], dim=1)
        both = torch.cat([forwards, back(inputs.flip(1))[0].flip(1)], dim=-1)
        inputs = both + inputs if encoder.residual and number >= FIRST_RESIDUAL else both
    return states, inputs


def _norm(state: Sequence[Tensor | None]) -> Tensor:
    """Return the norms (N,) of the gradients (1, N, H) by the parts of a state together; None stands for 0."""
    norms: Tensor = torch.linalg.vector_norm(torch.cat([part for part in state if part is not None], dim=-1), dim=-1)
    return norms[0]


def _grouped(parts: Sequence[Tensor | None], groups: int) -> list[Sequence[Tensor | None]]:
    """Cut a list into groups of the same size."""
    size = len(parts) // groups
    return [parts[start : start + size] for start in range(0, len(parts), size)]


def _long_pairs(family: Family, member: Member) -> list[tuple[Tensor, Tensor]]:
    """Return the ids of the first PAIRS pairs of the test set with long sources."""
    sources, references = family.sentences
    tokenizer = member.translator.tokenizer
    pairs: list[tuple[Tensor, Tensor]] = []
    for source, target in zip(tokenizer.encode_source(sources), tokenizer.encode_target(references), strict=True):
        if LENGTHS[0] <= len(source) <= LENGTHS[1] and len(pairs) < PAIRS:
            pairs.append((torch.tensor(source), torch.tensor(target)))
    return pairs


def _embedded(family: Family, member: Member) -> Tensor:
    """Return the embedded pieces of the test set, cut into sequences (N, STEPS + 1, E), or shorter if there are few."""
    ids = [i for sentence in member.translator.tokenizer.encode_source(family.sentences[0]) for i in sentence]
    length = min(STEPS + 1, len(ids))
    count = min(SEQUENCES, len(ids) // length)
    whole = torch.tensor(ids[: count * length]).view(count, length)
    embedded: Tensor = member.model.source_embedding(whole).detach()
    return embedded


def _geometric_mean(norms: Tensor) -> float:
    return float(norms.double().clamp_min(1e-30).log().mean().exp())
