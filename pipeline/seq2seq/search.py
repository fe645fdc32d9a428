"""Search for the best translations of a batch of sentences by beam search. Greedy search is a beam of one.

A translation does not depend on the other sentences in the batch: padding gets no attention, and hypotheses compete
only within their sentence. The tokens and the attention of a hypothesis are not copied from step to step. Each step
keeps its tokens and their parents in the step before. The few hypotheses that are wanted in the end are traced back.

Shapes: B sentences in the batch, N of them still in it, K hypotheses of each (1 in the first step, then the beam size),
S source length.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.tokenizer import BOS, EOS
from .inference import Inference

MOST_OPEN = 0.8  # while a larger share of the batch is open, finished sentences stay: to remove them copies the others


@dataclass(frozen=True)
class Hypothesis:
    """One translation of one sentence."""

    ids: list[int]  # without BOS; the last is EOS, unless the length limit was reached first
    log_probability: float  # natural logarithm of p(ids | source), as exact as NextTokens
    score: float  # log_probability / len(ids) ** length_penalty
    attention: NDArray[Any]  # (len(ids), S); each row sums to 1 over the real source tokens


@dataclass(frozen=True)
class Step:
    """The tokens that one step added to the open hypotheses.

    With the steps before, these are a tree: a hypothesis without a successor in the next step was given up.
    """

    rows: dict[int, int]  # sentence of the batch -> n
    tokens: NDArray[np.int64]  # (N, K)
    parents: NDArray[np.int64]  # (N, K): which hypotheses of the step before the tokens continue
    weights: NDArray[Any]  # (N, K of the step before, S): where those hypotheses attended
    scores: NDArray[Any]  # (N, K): log-probability of each hypothesis with its new token; -inf if it had ended before


@dataclass(frozen=True)
class Ended:
    """A hypothesis that is complete or was cut off: hypothesis k of its sentence in step `length`."""

    k: int
    length: int
    log_probability: float
    score: float
    is_complete: bool

    @property
    def rank(self) -> tuple[bool, float]:
        """Return the sort key, lowest for the best. Complete hypotheses come first, then those that were cut off.

        Among each of these, the score decides.
        """
        return not self.is_complete, -self.score


def search(
    inference: Inference,
    source: Tensor,
    lengths: Tensor,
    beam_size: int,
    length_penalty: float,
    limits: list[int],
    n_best: int,
) -> list[list[Hypothesis]]:
    """Translate source ids (B, S) of `lengths` (B,). Return up to `n_best` hypotheses of each, best first.

    A sentence is finished when `beam_size` hypotheses have ended in EOS and no open one scores better than the best of
    them. It is also finished when its hypotheses have as many tokens as its limit in `limits` (B), EOS included. Open
    hypotheses are cut off there. They rank after all complete ones, because a prefix of a sentence is more probable
    than the whole sentence.

    Scores are log-probabilities divided by length ** length_penalty, a simple form of the length normalisation of
    Wu et al. 2016 (arXiv 1609.08144, section 7).
    """
    steps, ended = explore(inference, source, lengths, beam_size, length_penalty, limits)
    return [[_trace_back(steps, sentence, each) for each in best[:n_best]] for sentence, best in enumerate(ended)]


@torch.no_grad()
def explore(
    inference: Inference, source: Tensor, lengths: Tensor, beam_size: int, length_penalty: float, limits: list[int]
) -> tuple[list[Step], list[list[Ended]]]:
    """Make the steps of `search`. Return them, and the hypotheses of each sentence that have ended, best first."""
    network, next_tokens = inference.network, inference.next_tokens
    encoder_output = network.encode(source, lengths)
    state = network.decoder.initial_state(encoder_output)
    rows = {sentence: sentence for sentence in range(len(limits))}
    tokens = torch.full((len(rows), 1), BOS, device=source.device)
    scores = torch.zeros(len(rows), 1, device=source.device)  # log-probabilities; -inf for a hypothesis that has ended
    steps: list[Step] = []
    ended = _AllEnded(beam_size, length_penalty, limits)
    while rows:
        features, weights, state = network.decode(tokens.view(-1, 1), encoder_output, state)
        scores, tokens, parents = _extend(scores, *next_tokens.best(features[:, -1], beam_size), beam_size)
        steps.append(Step(rows, *(part.cpu().numpy() for part in (tokens, parents, weights, scores))))
        still_open = ended.collect(steps)
        kept = torch.from_numpy(_kept(still_open)).to(source.device)
        scores = torch.from_numpy(still_open).to(source.device)
        if beam_size > 1 or len(kept) < len(rows):
            state = state.select((kept[:, None] * weights.shape[1] + parents[kept]).view(-1))
        if len(kept) < len(rows):
            encoder_output, scores, tokens = encoder_output.select(kept), scores[kept], tokens[kept]
            sentences = list(rows)
            rows = {sentences[old]: n for n, old in enumerate(kept.tolist())}
    return steps, ended.best


def _extend(scores: Tensor, log_p: Tensor, ids: Tensor, beam_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Extend hypotheses by one token. Return the scores, tokens and parents, each (N, K), of the best of each sentence.

    `scores` (N, K) are of the hypotheses so far, `log_p` and `ids` (N * K, tokens) of their most probable next tokens.
    """
    sentences = len(scores)
    extended = (scores.view(-1, 1) + log_p).view(sentences, -1)
    scores, chosen = extended.topk(min(beam_size, extended.shape[1]))
    return scores, ids.view(sentences, -1).gather(1, chosen), chosen // ids.shape[1]


class _AllEnded:
    """The hypotheses that have ended, at most `beam_size` of each sentence of the batch, best first.

    With a high length penalty a hypothesis may end in nearly every step, so no more of them are kept.
    """

    def __init__(self, beam_size: int, length_penalty: float, limits: list[int]) -> None:
        self.beam_size, self.length_penalty, self.limits = beam_size, length_penalty, limits
        self.best: list[list[Ended]] = [[] for _ in limits]

    def collect(self, steps: list[Step]) -> NDArray[np.float32]:
        """Add the hypotheses that end in the last step. Return its scores (N, K) without them.

        Their scores are replaced by -inf, and so are all scores of a sentence that is finished.
        """
        step, length, log_p = steps[-1], len(steps), steps[-1].scores
        penalty = length**self.length_penalty
        at_limit = np.array([self.limits[sentence] <= length for sentence in step.rows])
        is_complete = step.tokens == EOS
        ends = (is_complete | at_limit[:, None]) & np.isfinite(log_p)
        sentences = list(step.rows)
        for n, k in np.argwhere(ends).tolist():
            log_probability = float(log_p[n, k])
            best = self.best[sentences[n]]
            best.append(Ended(k, length, log_probability, log_probability / penalty, bool(is_complete[n, k])))
            best.sort(key=lambda each: each.rank)
            del best[self.beam_size :]
        still_open = np.where(ends, -np.inf, log_p)
        for n, score in enumerate((still_open.max(axis=1) / penalty).tolist()):
            best = self.best[sentences[n]]
            if len(best) == self.beam_size and score <= best[0].score:
                still_open[n] = -np.inf
        return still_open


def _kept(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return which sentences stay in the batch, as rows of `scores` (N, K): all of them while most are open."""
    still_open = np.flatnonzero(np.isfinite(scores).any(axis=1))
    if len(still_open) >= MOST_OPEN * len(scores):
        return np.arange(len(scores))
    return still_open


def _trace_back(steps: list[Step], sentence: int, ended: Ended) -> Hypothesis:
    """Return a hypothesis, collected from its last step to its first."""
    k, ids, attention = ended.k, [], []
    for step in reversed(steps[: ended.length]):
        n = step.rows[sentence]
        ids.append(int(step.tokens[n, k]))
        k = int(step.parents[n, k])
        attention.append(step.weights[n, k])
    return Hypothesis(ids[::-1], ended.log_probability, ended.score, np.stack(attention[::-1]))
