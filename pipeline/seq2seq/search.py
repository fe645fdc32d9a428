"""Search for the best translations of a batch of sentences by beam search. Greedy search is a beam of one.

A translation does not depend on the other sentences in the batch: padding gets no attention, and hypotheses compete
only within their sentence. Finished sentences are removed from the batch, so that no time is spent on them.

Shapes: B sentences in the batch, N of them still open, K beam size, V target vocabulary, S source length.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.tokenizer import BOS, EOS, PAD, UNK
from .model import DecoderState, EncoderOutput, Seq2Seq

NEVER = (PAD, UNK, BOS)  # ids that are never predicted


@dataclass(frozen=True)
class Hypothesis:
    """One translation of one sentence."""

    ids: list[int]  # without BOS; the last is EOS, unless the length limit was reached first
    log_probability: float  # natural logarithm of p(ids | source)
    score: float  # log_probability / len(ids) ** length_penalty
    attention: Tensor  # (len(ids), S); each row sums to 1 over the real source tokens

    @property
    def rank(self) -> tuple[bool, float]:
        """Return the sort key, lowest for the best. Complete hypotheses come first, then those that were cut off.

        Among each of these, the score decides.
        """
        return self.ids[-1] != EOS, -self.score


@dataclass
class _Beams:
    """The open hypotheses of the open sentences. Row n * K + k of the decoder state is hypothesis k of sentence n."""

    sentences: list[int]  # their indices in the whole batch
    ids: Tensor  # (N, K, tokens so far)
    scores: Tensor  # (N, K) log-probabilities; -inf for an empty slot
    attention: Tensor  # (N, K, tokens so far, S)


@torch.no_grad()
def search(
    model: Seq2Seq, source: Tensor, lengths: Tensor, beam_size: int, length_penalty: float, limits: list[int]
) -> list[list[Hypothesis]]:
    """Translate source ids (B, S) of `lengths` (B,). Return up to `beam_size` hypotheses of each, best first.

    A sentence is finished when `beam_size` hypotheses have ended in EOS and no open one scores better than the best of
    them. It is also finished when its hypotheses have as many tokens as its limit in `limits` (B), EOS included. Open
    hypotheses are cut off there. They rank after all complete ones, because a prefix of a sentence is more probable
    than the whole sentence.

    Scores are log-probabilities divided by length ** length_penalty, a simple form of the length normalisation of
    Wu et al. 2016 (arXiv 1609.08144, section 7).
    """
    encoder_output = model.encode(source, lengths)
    state = model.decoder.initial_state(encoder_output)
    every = torch.arange(len(lengths)).repeat_interleave(beam_size).to(source.device)
    encoder_output, state = encoder_output.select(every), state.select(every)
    beams = _start(len(lengths), beam_size, encoder_output)
    tokens = torch.full((len(every), 1), BOS, device=source.device)
    finished: list[list[Hypothesis]] = [[] for _ in limits]
    while beams.sentences:
        logits, weights, state = model.decode(tokens, encoder_output, state)
        log_p = log_probabilities(logits[:, -1]).view(len(beams.sentences), beam_size, -1)
        parents = _extend(beams, log_p, weights[:, -1])
        state = state.select(parents)
        _collect(beams, finished, length_penalty, limits)
        beams, encoder_output, state = _shrink(
            beams, encoder_output, state, _still_open(beams, finished, length_penalty)
        )
        tokens = beams.ids[:, :, -1].reshape(-1, 1)
    return finished


def _start(sentences: int, beam_size: int, encoder_output: EncoderOutput) -> _Beams:
    """Return one empty hypothesis for each sentence. The first step extends it to K different hypotheses."""
    device = encoder_output.mask.device
    scores = torch.full((sentences, beam_size), float("-inf"), device=device)
    scores[:, 0] = 0
    ids = torch.empty((sentences, beam_size, 0), dtype=torch.long, device=device)
    attention = torch.empty((sentences, beam_size, 0, encoder_output.mask.shape[1]), device=device)
    return _Beams(list(range(sentences)), ids, scores, attention)


def log_probabilities(logits: Tensor) -> Tensor:
    """Return log p (rows, V) of logits (rows, V). Ids in NEVER get -inf; the other probabilities are not rescaled."""
    log_p = logits.float().log_softmax(dim=-1)
    log_p[:, list(NEVER)] = float("-inf")
    return log_p


def _extend(beams: _Beams, log_p: Tensor, weights: Tensor) -> Tensor:
    """Replace the hypotheses of each sentence by their K best extensions by one token.

    `log_p` is (N, K, V) and `weights` (N * K, S). Return the rows (N * K,) of the decoder state of the hypotheses that
    were extended.
    """
    sentences, beam_size, vocabulary = log_p.shape
    scores, flat = (beams.scores[:, :, None] + log_p).view(sentences, -1).topk(beam_size, dim=-1)
    parent, token = flat // vocabulary, flat % vocabulary
    rows = torch.arange(sentences, device=parent.device)[:, None]
    attention = torch.cat([beams.attention, weights.view(sentences, beam_size, 1, -1)], dim=2)
    beams.ids = torch.cat([beams.ids[rows, parent], token[:, :, None]], dim=2)
    beams.attention = attention[rows, parent]
    beams.scores = scores
    return (rows * beam_size + parent).view(-1)


def _collect(beams: _Beams, finished: list[list[Hypothesis]], length_penalty: float, limits: list[int]) -> None:
    """Move hypotheses that end in EOS, or that reach their limit, from `beams` to `finished`.

    `finished` keeps only the K best of each sentence, best first, because with a high length penalty a hypothesis may
    end in nearly every step. Attention is copied, because a view would keep the attention of the whole batch in memory.
    """
    length = beams.ids.shape[2]
    at_limit = torch.tensor([limits[s] <= length for s in beams.sentences], device=beams.ids.device)
    done = ((beams.ids[:, :, -1] == EOS) | at_limit[:, None]) & beams.scores.isfinite()
    for n, k in done.nonzero().tolist():
        log_probability = float(beams.scores[n, k])
        ended = finished[beams.sentences[n]]
        ended.append(
            Hypothesis(
                beams.ids[n, k].tolist(),
                log_probability,
                log_probability / length**length_penalty,
                beams.attention[n, k].clone(),
            )
        )
        ended.sort(key=lambda h: h.rank)
        del ended[beams.scores.shape[1] :]
    beams.scores = beams.scores.masked_fill(done, float("-inf"))


def _still_open(beams: _Beams, finished: list[list[Hypothesis]], length_penalty: float) -> list[int]:
    """Return the indices in `beams` of the sentences that are not finished."""
    beam_size = beams.scores.shape[1]
    best = (beams.scores.max(dim=1).values / beams.ids.shape[2] ** length_penalty).tolist()

    def goes_on(n: int, ended: list[Hypothesis]) -> bool:
        return best[n] > float("-inf") and (len(ended) < beam_size or best[n] > ended[0].score)

    return [n for n, sentence in enumerate(beams.sentences) if goes_on(n, finished[sentence])]


def _shrink(
    beams: _Beams, encoder_output: EncoderOutput, state: DecoderState, keep: list[int]
) -> tuple[_Beams, EncoderOutput, DecoderState]:
    """Remove all sentences from the batch, except those at the indices `keep`."""
    if len(keep) == len(beams.sentences):
        return beams, encoder_output, state
    kept = torch.tensor(keep, dtype=torch.long, device=beams.ids.device)
    beam_size = beams.scores.shape[1]
    rows = (kept[:, None] * beam_size + torch.arange(beam_size, device=kept.device)).view(-1)
    sentences = [beams.sentences[n] for n in keep]
    smaller = _Beams(sentences, beams.ids[kept], beams.scores[kept], beams.attention[kept])
    return smaller, encoder_output.select(rows), state.select(rows)
