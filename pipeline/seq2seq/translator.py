"""Owns translation of text: a trained model with its tokenizer, from sentences to sentences.

This module and what it imports are all that a packaged model carries.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_model, save_file

from ..data.tokenizer import PAD, Tokenizer
from ..plumbing.errors import UserError
from ..plumbing.params import ModelSettings
from .model import Seq2Seq
from .search import Hypothesis, search

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
BATCH_CELLS = 8192  # source tokens x beam in a batch: bounds memory, does not change translations
BEAM_SIZE, LENGTH_PENALTY = 5, 1.0  # where no others are asked for


@dataclass(frozen=True)
class Translation:
    text: str  # detokenised
    score: float  # log-probability / length ** length_penalty, natural logarithm
    tokens: list[str]  # pieces of the translation, the end of sentence included
    source_tokens: list[str]  # pieces of the source, the end of sentence included
    attention: NDArray[np.float32] | None  # (tokens, source_tokens); None for a model without attention


T = TypeVar("T")
Numbered = tuple[int, T]  # with the place of its sentence among those given
BLANK = Translation("", 0.0, [], [], None)


@dataclass(frozen=True)
class Translator:
    """Translates sentences; each one's translation is independent of the others given with it."""

    model: Seq2Seq
    tokenizer: Tokenizer

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> "Translator":
        """Load what `save_weights` and the tokenizer stage wrote; runs on `device`, or on a GPU where there is one."""
        description = json.loads((directory / DESCRIPTION).read_bytes())
        model = Seq2Seq(
            ModelSettings(**description["settings"]), description["source_vocabulary"], description["target_vocabulary"]
        )
        load_model(model, directory / WEIGHTS)
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        return cls(model, Tokenizer.load(directory))

    def translate(
        self, sentences: list[str], beam_size: int = BEAM_SIZE, length_penalty: float = LENGTH_PENALTY
    ) -> list[Translation]:
        """The best translation of each sentence, in order; a blank sentence gives a blank translation."""
        share = self.translate_share(sentences, beam_size, length_penalty)
        return in_order(chain.from_iterable(share), len(sentences))

    def translate_n_best(
        self, sentences: list[str], n_best: int, beam_size: int = BEAM_SIZE, length_penalty: float = LENGTH_PENALTY
    ) -> list[list[Translation]]:
        """Up to `n_best` translations of each sentence, of the beam's, best first; the first is what `translate` gives.

        A blank sentence has one.
        """
        share = self._share(sentences, n_best, beam_size, length_penalty)
        return in_order(chain.from_iterable(share), len(sentences))

    def translate_share(
        self, sentences: list[str], beam_size: int, length_penalty: float, rank: int = 0, processes: int = 1
    ) -> Iterator[list[Numbered[Translation]]]:
        """Batch by batch, one process's part of the translations of `sentences`, which all processes are given."""
        for batch in self._share(sentences, 1, beam_size, length_penalty, rank, processes):
            yield [(i, best) for i, (best,) in batch]

    def _share(
        self,
        sentences: list[str],
        n_best: int,
        beam_size: int,
        length_penalty: float,
        rank: int = 0,
        processes: int = 1,
    ) -> Iterator[list[Numbered[list[Translation]]]]:
        """Batch by batch, one process's part.

        Every W-th batch of the one cut of all sentences: kernels round differently for batches of other shapes, so only
        equal batches give equal bits on any number of processes.
        """
        sources = self.tokenizer.encode_source(sentences)
        if rank == 0:
            yield [(i, [BLANK]) for i, source in enumerate(sources) if len(source) == 1]
        for rows in islice(_batches(sources, BATCH_CELLS // beam_size), rank, None, processes):
            found = self._search([sources[i] for i in rows], beam_size, length_penalty)
            yield [
                (i, [self._translation(sources[i], hypothesis) for hypothesis in hypotheses[:n_best]])
                for i, hypotheses in zip(rows, found, strict=True)
            ]

    def _search(self, sources: list[list[int]], beam_size: int, length_penalty: float) -> list[list[Hypothesis]]:
        device = next(self.model.parameters()).device
        lengths = [len(source) for source in sources]
        padded = torch.tensor([s + [PAD] * (max(lengths) - len(s)) for s in sources], device=device)
        limits = [2 * length + 10 for length in lengths]
        return search(self.model, padded, torch.tensor(lengths, device=device), beam_size, length_penalty, limits)

    def _translation(self, source: list[int], hypothesis: Hypothesis) -> Translation:
        attention = None if self.model.uses_fixed_vector else hypothesis.attention[:, : len(source)].cpu().numpy()
        return Translation(
            text=self.tokenizer.decode_target([hypothesis.ids])[0],
            score=hypothesis.score,
            tokens=self.tokenizer.target_pieces(hypothesis.ids),
            source_tokens=self.tokenizer.source_pieces(source),
            attention=attention,
        )


def save_weights(
    directory: Path,
    weights: dict[str, torch.Tensor],
    settings: ModelSettings,
    vocabularies: tuple[int, int],
    **more: Any,
) -> None:
    """Write a model's weights and description, as `Translator.load` reads them; `more` goes into the description."""
    model = Seq2Seq(settings, *vocabularies)
    model.load_state_dict(weights)
    save_file(_without_aliases(model.state_dict()), directory / WEIGHTS)
    source, target = vocabularies
    description = {"settings": settings.model_dump(), "source_vocabulary": source, "target_vocabulary": target, **more}
    (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def in_order(translations: Iterable[Numbered[T]], count: int) -> list[T]:
    """The translations of `count` sentences in the sentences' order; UserError unless each has come exactly once."""
    found = sorted(translations, key=lambda numbered: numbered[0])
    if [i for i, _ in found] != list(range(count)):
        raise UserError(
            f"{count} sentences became {len(found)} translations of {len({i for i, _ in found})} sentences; "
            "give every process the same files"
        )
    return [translation for _, translation in found]


def _without_aliases(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor once, under the first of its names; safetensors' `save_model` notes the others in random order."""
    first: dict[int, str] = {}
    for name in sorted(weights):
        first.setdefault(weights[name].data_ptr(), name)
    return {name: weights[name] for name in first.values()}


def _batches(sources: list[list[int]], cells: int) -> Iterator[list[int]]:
    """Cut the sources that are not blank, longest first, into batches of at most `cells` tokens, padding counted."""
    rows = sorted((i for i, source in enumerate(sources) if len(source) > 1), key=lambda i: -len(sources[i]))
    while rows:
        size = max(1, cells // len(sources[rows[0]]))
        yield rows[:size]
        rows = rows[size:]
