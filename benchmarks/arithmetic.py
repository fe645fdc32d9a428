"""Count the arithmetic of the network: the matrix products for a batch of sentence pairs.

Shapes: B pairs, S source tokens and T target tokens in each, E embedding size, H hidden size, V target vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.plumbing.params import ModelSettings

TRAINING = 3  # a training step computes each product forward, and two such products backward
GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Product:
    """`times` products of `batch` matrices (rows, inner) by (inner, columns)."""

    rows: int
    inner: int
    columns: int
    batch: int = 1
    times: int = 1

    @property
    def operations(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.rows * self.inner * self.columns * self.batch * self.times


@dataclass(frozen=True)
class Shape:
    """A batch of pairs with the mean lengths of a corpus."""

    pairs: int  # B
    source: int  # S
    target: int  # T


def encoding(model: ModelSettings, shape: Shape) -> Iterator[Product]:
    """Yield the products of the encoder, with the keys of the attention."""
    gates, half = GATES[model.cell], model.hidden_size // 2
    tokens = shape.pairs * shape.source
    for layer in range(model.encoder_layers):
        size = model.hidden_size if layer else model.embedding_size
        yield Product(tokens, size, gates * half, times=2)
        yield Product(shape.pairs, half, gates * half, times=2 * shape.source)
    projected = {"none": 0, "dot": 0, "multihead": 2}.get(model.attention, 1)  # keys, and values
    if projected:
        yield Product(tokens, model.hidden_size, model.hidden_size, times=projected)


def decoding(model: ModelSettings, shape: Shape, vocabulary: int, *, by_step: bool) -> Iterator[Product]:
    """Yield the products of the decoder. `by_step` means one call for each target token, as in a search."""
    gates, hidden, keys = GATES[model.cell], model.hidden_size, shape.source if model.attention != "none" else 1
    rows, calls = (shape.pairs, shape.target) if by_step else (shape.pairs * shape.target, 1)
    for layer in range(model.decoder_layers):
        fed = hidden if model.input_feeding else 0
        size = 2 * hidden if layer else model.embedding_size + fed
        yield Product(rows, size, gates * hidden, times=calls)
        yield Product(shape.pairs, hidden, gates * hidden, times=shape.target)
    queries = 1 if by_step else shape.target
    yield Product(queries, hidden, keys, batch=shape.pairs, times=calls)
    yield Product(queries, keys, hidden, batch=shape.pairs, times=calls)
    if model.attention in ("concat", "additive", "multihead"):
        yield Product(rows, hidden, hidden, times=calls)
    if model.tie_embeddings == "none":
        yield Product(rows, 2 * hidden, vocabulary, times=calls)
    else:
        yield Product(rows, 2 * hidden, model.embedding_size, times=calls)
        yield Product(rows, model.embedding_size, vocabulary, times=calls)
