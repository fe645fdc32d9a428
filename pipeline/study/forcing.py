"""Compare teacher forcing with free running: what a model predicts after the reference, and after its own words.

Shapes: B batch, S source length, T target length, V vocabulary, N pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

from ..data.languages import tokeniser_for
from ..data.tokenizer import BOS, EOS, PAD
from ..seq2seq.model import Seq2Seq
from ..seq2seq.next_tokens import NEVER
from .members import Family, Member

BATCH = 64
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
    notebook_bleu: float  # the score of the notebook, see notebook_bleu()
    notebook_bleu_unrelated: float  # the same for references of other sentences


@torch.no_grad()
def forcing(family: Family, member: Member) -> Forcing:
    """Measure both ways on the test set."""
    sources, references = family.sentences
    tokenizer, model = member.translator.tokenizer, member.model
    targets = tokenizer.encode_target(references)
    forced, free = _Counts(), _Counts()
    forced_hits: list[Tensor] = []
    free_hits: list[Tensor] = []
    for source, lengths, target in _batches(tokenizer.encode_source(sources), targets):
        encoder_output = model.encode(source, lengths)
        state = model.decoder.initial_state(encoder_output)
        features, _, _ = model.decode(F.pad(target[:, :-1], (1, 0), value=BOS), encoder_output, state)
        forced_hits += forced.add(model.output(features), target)
        free_hits += free.add(_free_running(model, source, lengths, target.shape[1]), target)
    forced_texts = tokenizer.decode_target([_until_end(ids) for ids in forced.predicted])
    free_texts = [t.text for t in member.translator.translate(sources, beam_size=1)]
    metric = BLEU(tokenize=tokeniser_for(family.target_language), references=[references])
    return Forcing(
        forced.way(metric.corpus_score(forced_texts, None).score),
        free.way(metric.corpus_score(free_texts, None).score),
        _after_error(forced_hits, free_hits),
        notebook_bleu(_texts_with_dropout(family, member), references),
        notebook_bleu(references[1:] + references[:1], references),
    )


def notebook_bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return a score that a well-known notebook reports for its translator, from 0 to 1. It measures little.

    It is the mean over sentences of a BLEU over characters, spaces included, in which a precision of 0 counts as 0.1
    divided by the number of n-grams. Sentences that have nothing to do with each other share many letters, and get
    0.18 to 0.19 by it.
    """
    metric = BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1, effective_order=False)
    scores = [
        metric.corpus_score([_letters(hypothesis)], [[_letters(reference)]]).score / 100
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]
    return float(sum(scores) / len(scores))


def _letters(text: str) -> str:
    return " ".join(text.replace(" ", "\u2581"))


def _texts_with_dropout(family: Family, member: Member) -> list[str]:
    """Return the texts of teacher forcing with dropout left on, as the notebook does."""
    sources, references = family.sentences
    tokenizer, model = member.translator.tokenizer, member.model
    counts = _Counts()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model.train()
            for source, lengths, target in _batches(
                tokenizer.encode_source(sources), tokenizer.encode_target(references)
            ):
                encoder_output = model.encode(source, lengths)
                state = model.decoder.initial_state(encoder_output)
                features, _, _ = model.decode(F.pad(target[:, :-1], (1, 0), value=BOS), encoder_output, state)
                counts.add(model.output(features), target)
    finally:
        model.eval()
    return tokenizer.decode_target([_until_end(ids) for ids in counts.predicted])


class _Counts:
    """Adds up hits and losses."""

    def __init__(self) -> None:
        self.hits = self.tokens = 0
        self.loss = 0.0
        self.predicted: list[list[int]] = []

    def add(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """Count the predictions (B, T, V) of target (B, T). Return which are right, for each sentence."""
        log_p = logits.log_softmax(dim=-1)
        logits[..., NEVER] = float("-inf")
        best, real = logits.argmax(dim=-1), target != PAD
        self.hits += int((best == target)[real].sum())
        self.tokens += int(real.sum())
        self.loss -= float(log_p.gather(2, target[:, :, None])[..., 0][real].double().sum())
        self.predicted += [row[mask].tolist() for row, mask in zip(best, real, strict=True)]
        return [(row == wanted)[mask] for row, wanted, mask in zip(best, target, real, strict=True)]

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
        tokens = logits[-1].index_fill(2, torch.tensor(NEVER), float("-inf")).argmax(dim=-1)
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


def _until_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(EOS)] if EOS in ids else ids


def _batches(sources: list[list[int]], targets: list[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield source ids (B, S), lengths (B,) and target ids (B, T), in order."""
    for start in range(0, len(sources), BATCH):
        source, target = sources[start : start + BATCH], targets[start : start + BATCH]
        yield _padded(source), torch.tensor(list(map(len, source))), _padded(target)


def _padded(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
