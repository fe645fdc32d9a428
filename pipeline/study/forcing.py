"""Compare teacher forcing with free running: what a model predicts after the reference, and after its own words.

Shapes: B batch, S source length, T target length, V vocabulary, N pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from ..data.languages import tokeniser_for
from ..data.tokenizer import BOS, EOS, PAD, Tokenizer
from ..seq2seq.model import Seq2Seq, shifted
from ..seq2seq.next_tokens import NEVER
from .members import Family, Member

BATCH = 64  # pairs at once, or fewer if source and target positions of all pairs would be more than CELLS
CELLS = 100_000
AFTER = 10  # steps after the first error


@dataclass(frozen=True)
class Way:
    """How well a model predicts the tokens of the references, when it reads in one of the two ways."""

    accuracy: float  # share of the tokens of which the most probable token is the reference's
    loss: float  # nats for each token
    bleu: float  # of the most probable tokens; of teacher forcing it is no translation


@dataclass(frozen=True)
class Forcing:
    """The two ways side by side."""

    teacher_forced: Way
    free_running: Way
    # Accuracy 1, 2, ... tokens after the first error of free running: there, and of teacher forcing at the same places.
    after_error: list[tuple[float, float]]


@torch.no_grad()
def forcing(family: Family, member: Member) -> Forcing:
    """Measure both ways on the test set."""
    sources, references = family.sentences
    tokenizer, model = member.translator.tokenizer, member.model
    forced, free = Counts(len(sources)), Counts(len(sources))
    for rows, source, lengths, target in batches(family, member):
        forced.add(rows, teacher_forced(model, source, lengths, target), target)
        free.add(rows, _free_running(model, source, lengths, target.shape[1]), target)
    metric = BLEU(tokenize=tokeniser_for(family.target_language), references=[references])
    free_texts = [translation.text for translation in member.translator.translate(sources, beam_size=1)]
    return Forcing(
        forced.way(metric.corpus_score(forced.texts(tokenizer), None).score),
        free.way(metric.corpus_score(free_texts, None).score),
        _after_error(forced.right, free.right),
    )


def teacher_forced(model: Seq2Seq, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
    """Return the logits (B, T, V) of a model that reads the target (B, T)."""
    encoder_output = model.encode(source, lengths)
    features, _, _ = model.decode(shifted(target), encoder_output, model.decoder.initial_state(encoder_output))
    logits: Tensor = model.output(features)
    return logits


class Counts:
    """Counts what a model predicts for the pairs of the test set."""

    def __init__(self, pairs: int) -> None:
        self.hits = self.tokens = 0
        self.loss = 0.0
        self.predicted: list[list[int]] = [[]] * pairs  # the likeliest tokens, as many as the reference has
        self.right: list[Tensor] = [torch.zeros(0)] * pairs  # which of them are as in the reference

    def add(self, rows: Sequence[int], logits: Tensor, target: Tensor) -> None:
        """Count the predictions (B, T, V) of target (B, T), which belongs to the pairs `rows`."""
        log_p = logits.log_softmax(dim=-1).gather(2, target[:, :, None])[..., 0]
        best, real = _likeliest(logits), target != PAD
        self.hits += int((best == target)[real].sum())
        self.tokens += int(real.sum())
        self.loss -= float(log_p[real].double().sum())
        for row, tokens, wanted, mask in zip(rows, best, target, real, strict=True):
            self.predicted[row], self.right[row] = tokens[mask].tolist(), (tokens == wanted)[mask]

    def texts(self, tokenizer: Tokenizer) -> list[str]:
        """Return the text of the predictions of each pair, up to the first end of a sentence."""
        ids = self.predicted
        return tokenizer.decode_target([row[: row.index(EOS)] if EOS in row else row for row in ids])

    def way(self, bleu: float) -> Way:
        return Way(self.hits / self.tokens, self.loss / self.tokens, bleu)


def _free_running(model: Seq2Seq, source: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """Return the logits (B, T, V) of a model that reads its own most probable tokens."""
    encoder_output = model.encode(source, lengths)
    state = model.decoder.initial_state(encoder_output)
    tokens, logits = torch.full((len(source), 1), BOS), []
    for _ in range(steps):
        features, _, state = model.decode(tokens, encoder_output, state)
        logits.append(model.output(features))
        tokens = _likeliest(logits[-1])
    return torch.cat(logits, dim=1)


def _after_error(forced: Sequence[Tensor], free: Sequence[Tensor]) -> list[tuple[float, float]]:
    """Return the accuracies of free running and of teacher forcing after the first error of free running."""
    rows = []
    for after in range(1, AFTER + 1):
        places = [(n, int(hits.logical_not().nonzero()[0]) + after) for n, hits in enumerate(free) if not hits.all()]
        pairs = [(bool(free[n][t]), bool(forced[n][t])) for n, t in places if t < len(free[n])]
        if pairs:
            rows.append((sum(own for own, _ in pairs) / len(pairs), sum(taught for _, taught in pairs) / len(pairs)))
    return rows


def batches(family: Family, member: Member) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
    """Yield pairs of the test set: their numbers, source ids (B, S), lengths (B,) and target ids (B, T)."""
    tokenizer = member.translator.tokenizer
    sources, targets = tokenizer.encode_source(family.sentences[0]), tokenizer.encode_target(family.sentences[1])
    waiting = sorted(range(len(sources)), key=lambda i: (len(sources[i]), len(targets[i])), reverse=True)
    while waiting:
        cells = len(sources[waiting[0]]) * max(len(targets[i]) for i in waiting[:BATCH])
        count = max(1, min(BATCH, CELLS // cells))
        rows, waiting = waiting[:count], waiting[count:]
        source, target = [sources[i] for i in rows], [targets[i] for i in rows]
        yield rows, _padded(source), torch.tensor(list(map(len, source))), _padded(target)


def _likeliest(logits: Tensor) -> Tensor:
    """Return the likeliest ids (B, T) that can be predicted, of logits (B, T, V)."""
    return logits.index_fill(2, torch.tensor(NEVER), float("-inf")).argmax(dim=-1)


def _padded(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
