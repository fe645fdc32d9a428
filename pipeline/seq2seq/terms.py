"""Translate with a user's glossary: each source term is translated by its target term.

The search is a grid beam search (Hokamp and Liu 2017, arXiv 1704.07138, algorithm 1). A hypothesis competes only with
hypotheses that have the same number of term tokens. As in Hasler et al. 2018 (arXiv 1805.03750), attention decides
where a term belongs: a target term can begin only in a step that attends most to a token of its source term. Sentences
are translated one at a time.

Shapes: R open hypotheses, S source length, V vocabulary.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.text import normal_form
from ..data.tokenizer import BOS, EOS, Tokenizer
from ..plumbing.errors import UserError
from .model import Seq2Seq
from .next_tokens import log_probabilities
from .translator import BEAM_SIZE, LENGTH_PENALTY, Translator


class Term(NamedTuple):
    """A source term found in a sentence, with its target term."""

    ids: tuple[int, ...]  # tokens of the target term
    positions: frozenset[int]  # of the tokens of the source term


@dataclass(frozen=True)
class Glossary:
    """The terms of a glossary: source term in lower case -> target term."""

    terms: dict[str, str]

    @classmethod
    def load(cls, path: Path) -> "Glossary":
        """Read a UTF-8 file with a source term, a tab and a target term in each line. Raise UserError for others."""
        terms: dict[str, str] = {}
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except FileNotFoundError:
            raise UserError(f"TERMS: there is no file {path}; type the path of your glossary") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"TERMS: {path} could not be read as text in UTF-8: {error}") from None
        for number, line in enumerate(lines, 1):
            fields = [normal_form(field) for field in line.split("\t")]
            if fields == [""]:
                continue
            if len(fields) != 2 or not all(fields):
                raise UserError(f"TERMS: {path}, line {number}: got {line!r}, expected source term, tab, target term")
            if terms.setdefault(fields[0].lower(), fields[1]) != fields[1]:
                raise UserError(f"TERMS: {path}, line {number}: {fields[0]!r} has another target term above; keep one")
        if not terms:
            raise UserError(f"TERMS: {path} has no terms; expected lines of source term, tab, target term")
        return cls(terms)

    @cached_property
    def _any_term(self) -> re.Pattern[str]:
        longest_first = sorted(self.terms, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)

    def find(self, sentence: str) -> Iterator[tuple[int, int, str]]:
        """Yield the begin, the end and the target term of each source term in a sentence in normal form.

        Only whole words are found.
        """
        for match in self._any_term.finditer(sentence):
            if target := self.terms.get(match[0].lower()):
                yield *match.span(), target

    def is_obeyed(self, sentence: str, translation: str) -> bool:
        """Return whether the translation has each target term as often as the sentence has its source terms."""
        wanted = Counter(target for _, _, target in self.find(normal_form(sentence)))
        return all(translation.count(target) >= count for target, count in wanted.items())


def translate_with_terms(
    translator: Translator,
    glossary: Glossary,
    sentence: str,
    beam_size: int = BEAM_SIZE,
    length_penalty: float = LENGTH_PENALTY,
) -> str:
    """Return the translation with the most tokens of target terms. Among several such translations, the score decides.

    A target term may be missing if the model never attended to its source term. Sentences without source terms are
    translated by `Translator.translate`. Raise UserError for a model without attention.
    """
    if translator.model.uses_fixed_vector:
        raise UserError("TERMS: got a model without attention, which cannot place terms; set model.attention")
    tokenizer, text = translator.tokenizer, normal_form(sentence)
    terms = terms_in(text, glossary, tokenizer)
    if not terms:
        return translator.translate([sentence], beam_size, length_penalty)[0].text
    (source,) = tokenizer.encode_source([text])
    network = translator.inference.network
    return tokenizer.decode_target([_search(network, source, terms, beam_size, length_penalty)])[0]


def terms_in(text: str, glossary: Glossary, tokenizer: Tokenizer) -> tuple[Term, ...]:
    """Return the terms of the glossary that occur in a text in normal form, in order."""
    found = list(glossary.find(text))
    spans = tokenizer.source_spans(text)
    targets = tokenizer.encode_target([target for _, _, target in found])
    return tuple(
        Term(tuple(ids[:-1]), frozenset(i for i, (first, last) in enumerate(spans) if first < end and begin < last))
        for (begin, end, _), ids in zip(found, targets, strict=True)
    )


class _Open(NamedTuple):
    """A hypothesis, and the terms that it does not contain yet."""

    score: float  # log-probability
    ids: tuple[int, ...]
    row: int  # of the decoder state that it continues
    waiting: tuple[Term, ...]  # terms that have not begun
    rest: tuple[int, ...]  # remaining tokens of the term that has begun

    @property
    def missing(self) -> int:
        """The number of term tokens that the hypothesis does not contain yet."""
        return len(self.rest) + sum(len(term.ids) for term in self.waiting)

    def longer(self, token: int, row: int, log_p: Tensor, waiting: tuple[Term, ...], rest: tuple[int, ...]) -> "_Open":
        return _Open(self.score + float(log_p[row, token]), (*self.ids, token), row, waiting, rest)


@torch.no_grad()
def _search(
    network: Seq2Seq, source: list[int], terms: tuple[Term, ...], beam_size: int, length_penalty: float
) -> list[int]:
    """Return the ids of the best translation, which has the fewest missing term tokens and then the best score."""
    device = network.output.weight.device
    encoder_output = network.encode(torch.tensor([source], device=device), torch.tensor([len(source)], device=device))
    state = network.decoder.initial_state(encoder_output)
    beam, tokens = [_Open(0.0, (), 0, terms, ())], [BOS]
    ended: list[tuple[int, float, tuple[int, ...]]] = []
    for length in range(1, 2 * len(source) + 11):
        rows = encoder_output.select(torch.zeros(len(beam), dtype=torch.long, device=device))
        features, weights, state = network.decode(torch.tensor(tokens, device=device)[:, None], rows, state)
        log_p = log_probabilities(network.output(features[:, -1]))
        grid: dict[int, list[_Open]] = {}
        for each in _extensions(beam, log_p, weights[:, -1], beam_size):
            grid.setdefault(each.missing, []).append(each)
        kept = [each for same in grid.values() for each in sorted(same, reverse=True)[:beam_size]]
        ranked = [(-each.missing, each.score / length**length_penalty, each.ids) for each in kept]
        ended = sorted([*ended, *(each for each in ranked if each[2][-1] == EOS)], reverse=True)[:beam_size]
        still_open = max((each for each in ranked if each[2][-1] != EOS), default=None)
        if still_open is None or (len(ended) == beam_size and still_open <= ended[0]):
            break
        beam = [each for each in kept if each.ids[-1] != EOS]
        state = state.select(torch.tensor([each.row for each in beam], device=device))
        tokens = [each.ids[-1] for each in beam]
    best = ended[0] if ended else max(ranked)
    return list(best[2])


def _extensions(beam: list[_Open], log_p: Tensor, weights: Tensor, beam_size: int) -> Iterator[_Open]:
    """Yield the extensions of each hypothesis by one token.

    A hypothesis inside a term gets the next token of the term. Any other gets its `beam_size` most probable tokens, and
    the first token of each term that it attends to. `log_p` is (R, V), the attention weights are (R, S).
    """
    likely = log_p.topk(beam_size, dim=-1).indices.tolist()
    for row, (each, attended) in enumerate(zip(beam, weights.argmax(dim=-1).tolist(), strict=True)):
        if each.rest:
            yield each.longer(each.rest[0], row, log_p, each.waiting, each.rest[1:])
            continue
        for token in likely[row]:
            yield each.longer(token, row, log_p, each.waiting, ())
        for i, term in enumerate(each.waiting):
            if attended in term.positions:
                yield each.longer(term.ids[0], row, log_p, each.waiting[:i] + each.waiting[i + 1 :], term.ids[1:])
