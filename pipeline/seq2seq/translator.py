"""Translate text, from sentences to sentences, with a trained model and its tokenizer.

A packaged model contains this module and the modules that it imports, and no other modules of the project.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_model, save_file

from ..data.tokenizer import PAD, Tokenizer
from ..plumbing.errors import UserError
from ..plumbing.params import ModelSettings
from .inference import Inference
from .model import Seq2Seq
from .search import Hypothesis, search
from .workers import map_in_threads

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
# Limits of a batch on one core, see batch_limits. They limit its memory, and do not change translations.
BATCH_CELLS, BATCH_HYPOTHESES = 4096, 1024
ON_A_GPU = 8  # times as many
FEW_CELLS = 512  # one core translates up to so many as fast as two
BEAM_SIZE, LENGTH_PENALTY = 5, 1.0  # the defaults


@dataclass(frozen=True)
class Translation:
    """The translation of one sentence."""

    text: str  # detokenised
    score: float  # log-probability / length ** length_penalty, natural logarithm
    tokens: list[str]  # pieces of the translation, with </s> at the end
    source_tokens: list[str]  # pieces of the source, with </s> at the end
    attention: NDArray[np.float32] | None  # (tokens, source_tokens); None for a model without attention


T = TypeVar("T")
Numbered = tuple[int, T]  # (index of the sentence, result)
BLANK = Translation("", 0.0, [], [], None)


@dataclass(frozen=True)
class Translator:
    """Translates sentences. Each translation is independent of the other sentences in the call.

    The model must not change after the first translation, for which its weights are brought into another layout.
    """

    model: Seq2Seq
    tokenizer: Tokenizer

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> "Translator":
        """Load a model and its tokenizer from a directory. The default device is a GPU, or the CPU without one."""
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
        """Return the best translation of each sentence, in order. The translation of a blank sentence is empty."""
        share = self.translate_share(sentences, beam_size, length_penalty)
        return in_order(chain.from_iterable(share), len(sentences))

    def translate_n_best(
        self, sentences: list[str], n_best: int, beam_size: int = BEAM_SIZE, length_penalty: float = LENGTH_PENALTY
    ) -> list[list[Translation]]:
        """Return the `n_best` best translations of each sentence in the beam, best first.

        There are at most `beam_size` of them, and only one for a blank sentence. The first is the one that `translate`
        returns.
        """
        share = self._share(sentences, n_best, beam_size, length_penalty)
        return in_order(chain.from_iterable(share), len(sentences))

    def translate_share(
        self, sentences: list[str], beam_size: int, length_penalty: float, rank: int = 0, processes: int = 1
    ) -> Iterator[list[Numbered[Translation]]]:
        """Yield, batch by batch, the translations that this process makes. All processes get the same `sentences`."""
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
        """Yield, batch by batch, the n-best translations that this process makes.

        The batches do not depend on the number of processes. Process r of W takes the batches r, r + W and so on.
        Kernels round differently for other shapes of a batch, so only the same batches give bit-identical results.
        """
        sources = self.tokenizer.encode_source(sentences)
        if rank == 0:
            yield [(i, [BLANK]) for i, source in enumerate(sources) if len(source) == 1]

        def translate(rows: list[int]) -> list[Numbered[list[Translation]]]:
            found = self._search([sources[i] for i in rows], n_best, beam_size, length_penalty)
            texts = iter(self.tokenizer.decode_target([each.ids for best in found for each in best]))
            return [
                (i, [self._translation(sources[i], hypothesis, next(texts)) for hypothesis in best])
                for i, best in zip(rows, found, strict=True)
            ]

        batches = _batches(sources, beam_size, self.inference.device)[rank::processes]
        yield from map_in_threads(translate, batches, self.inference.device)

    @cached_property
    def inference(self) -> Inference:
        """The network with its weights in the layout of this device's kernels."""
        return Inference(self.model)

    def _search(
        self, sources: list[list[int]], n_best: int, beam_size: int, length_penalty: float
    ) -> list[list[Hypothesis]]:
        device = self.inference.device
        lengths = [len(source) for source in sources]
        padded = torch.tensor([s + [PAD] * (max(lengths) - len(s)) for s in sources], device=device)
        limits = [2 * length + 10 for length in lengths]
        sizes = torch.tensor(lengths, device=device)
        return search(self.inference, padded, sizes, beam_size, length_penalty, limits, n_best)

    def _translation(self, source: list[int], hypothesis: Hypothesis, text: str) -> Translation:
        attention = None if self.model.uses_fixed_vector else hypothesis.attention[:, : len(source)]
        return Translation(
            text=text,
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
    """Write a model's weights and description for `Translator.load`. `more` is added to the description."""
    model = Seq2Seq(settings, *vocabularies)
    model.load_state_dict(weights)
    save_file(_without_aliases(model.state_dict()), directory / WEIGHTS)
    source, target = vocabularies
    description = {"settings": settings.model_dump(), "source_vocabulary": source, "target_vocabulary": target, **more}
    (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def in_order(translations: Iterable[Numbered[T]], count: int) -> list[T]:
    """Return the translations of `count` sentences in order. Raise UserError unless each has exactly one."""
    found = sorted(translations, key=lambda numbered: numbered[0])
    if [i for i, _ in found] != list(range(count)):
        raise UserError(
            f"expected one translation of each of {count} sentences, got {len(found)} translations of "
            f"{len({i for i, _ in found})} sentences; give every process the same files"
        )
    return [translation for _, translation in found]


def _without_aliases(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return each tensor once, under the first of its names in alphabetical order.

    safetensors' own `save_model` writes the other names in random order.
    """
    first: dict[int, str] = {}
    for name in sorted(weights):
        first.setdefault(weights[name].data_ptr(), name)
    return {name: weights[name] for name in first.values()}


def batch_limits(device: torch.device) -> tuple[int, int]:
    """Return how many cells (source tokens times the beam size) and how many hypotheses a batch has at most."""
    factor = 1 if device.type == "cpu" else ON_A_GPU
    return factor * BATCH_CELLS, factor * BATCH_HYPOTHESES


def _batches(sources: list[list[int]], beam_size: int, device: torch.device) -> list[list[int]]:
    """Return the indices of the sources that are not blank, longest first, in batches.

    On a CPU, a few sentences make two batches instead of one, so that two cores share them. The batches do not depend
    on the number of cores, because translations must be the same everywhere.
    """
    rows = sorted((i for i, source in enumerate(sources) if len(source) > 1), key=lambda i: -len(sources[i]))
    batches, left = [], rows
    most_cells, most_hypotheses = batch_limits(device)
    while left:
        cells = len(sources[left[0]]) * beam_size  # of a sentence in this batch, with padding
        size = max(1, min(most_cells // cells, most_hypotheses // beam_size))
        batches.append(left[:size])
        left = left[size:]
    if device.type == "cpu" and len(batches) == 1:
        ends = list(accumulate(len(sources[i]) for i in rows))
        if ends[-1] * beam_size > FEW_CELLS:
            half = bisect_left(ends, ends[-1] / 2) + 1
            return [part for part in (rows[:half], rows[half:]) if part]
    return batches
