"""Measure CTranslate2 in its own environment: DIRECTORY SOURCES SOURCE_VOCABULARY TARGET_VOCABULARY PIECES LAYERS

It translates with int8 weights and a Transformer with random weights: six encoder layers, LAYERS decoder layers, width
256. Each translation has exactly PIECES pieces. Print JSON: beam size -> the least seconds over some batch sizes.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import transformer_spec

ENCODER_LAYERS, WIDTH, HEADS = 6, 256, 4
BATCHES = (64, 256)
SPECIAL = ["<blank>", "<unk>", "<s>", "</s>"]


def untrained(layers: int, source: list[str], target: list[str]) -> Any:
    """Return a Transformer whose weights are random, with pre-layer normalisation (arXiv 2002.04745)."""
    spec = transformer_spec.TransformerSpec.from_config((ENCODER_LAYERS, layers), HEADS, pre_norm=True)
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> Any:
        return (random.standard_normal((rows, columns)) / columns**0.5).astype(np.float32)

    def linear(layer: Any, rows: int, columns: int) -> None:
        layer.weight, layer.bias = matrix(rows, columns), np.zeros(rows, np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def attention(layer: Any, *outputs: int) -> None:
        norm(layer.layer_norm)
        for part, size in zip(layer.linear, outputs, strict=True):
            linear(part, size, WIDTH)

    def stack(side: Any, vocabulary: list[str]) -> None:
        (embeddings,) = side.embeddings if isinstance(side.embeddings, list) else [side.embeddings]
        embeddings.weight = matrix(len(vocabulary), WIDTH)
        side.position_encodings.encodings = matrix(512, WIDTH)
        norm(side.layer_norm)
        for layer in side.layer:
            attention(layer.self_attention, 3 * WIDTH, WIDTH)
            if hasattr(layer, "attention"):
                attention(layer.attention, WIDTH, 2 * WIDTH, WIDTH)
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, 4 * WIDTH, WIDTH)
            linear(layer.ffn.linear_1, WIDTH, 4 * WIDTH)

    stack(spec.encoder, source)
    stack(spec.decoder, target)
    linear(spec.decoder.projection, len(target), WIDTH)
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.config.add_source_eos = True
    spec.validate()
    spec.optimize(quantization="int8")
    return spec


def seconds(directory: Path, sentences: list[list[str]], length: int) -> Iterator[tuple[int, float]]:
    translator = ctranslate2.Translator(str(directory), device="cpu", compute_type="int8")
    for beam_size in (1, 5):
        taken = []
        for batch in BATCHES:
            start = time.perf_counter()
            translator.translate_batch(
                sentences,
                beam_size=beam_size,
                max_batch_size=batch,
                min_decoding_length=length,
                max_decoding_length=length,
                disable_unk=True,
            )
            taken.append(time.perf_counter() - start)
        yield beam_size, min(taken)


def main() -> None:
    directory, sources, *vocabularies = map(Path, sys.argv[1:5])
    length, layers = map(int, sys.argv[5:])
    source, target = ([*SPECIAL, *path.read_text(encoding="utf-8").splitlines()] for path in vocabularies)
    sentences = [line.split(" ") for line in sources.read_text(encoding="utf-8").splitlines() if line]
    directory.mkdir(parents=True, exist_ok=True)
    untrained(layers, source, target).save(str(directory))
    print(json.dumps(dict(seconds(directory, sentences, length))))


if __name__ == "__main__":
    main()
