"""Write a model's encoder and one step of its decoder as ONNX graphs, and compare them with the model.

The graphs are traced from the modules in pipeline/seq2seq, so no formula is written a second time. The exporter is
torch's older one (`dynamo=False`). The newer one writes the source length of the example into an LSTM or GRU that runs
backwards. The graph then fails on every other length (torch 2.13, pytorch issue 191855).

Shapes: B sentences or hypotheses, S source length, H hidden, V target vocabulary.
"""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from ..data.tokenizer import BOS, EOS, PAD
from ..plumbing.errors import UserError
from ..seq2seq.model import DecoderState, EncoderOutput, Seq2Seq
from ..seq2seq.next_tokens import log_probabilities

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
OPSET = 17  # onnxruntime 1.12 and newer read it
TOLERANCE = 1e-3  # of a log-probability; rounding errors are some hundred times smaller
ENCODER_OUTPUT = ("keys", "values", "mask")  # outputs of the encoder that every step of the decoder reads


class _Encoder(nn.Module):
    """source (B, S), lengths (B,) -> keys, values (B, S, H), mask (B, S), the decoder's first state, each (B, H)."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        output = self.model.encode(source, lengths)
        return output.keys, output.values, output.mask, *_flat(self.model.decoder.initial_state(output))


class _DecoderStep(nn.Module):
    """tokens (B, 1), the encoder's outputs, state -> log-probabilities (B, V), attention (B, S), next state."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        size = 2 if self.model.decoder.is_lstm else 1
        layers = tuple(state[i : i + size] for i in range(0, len(state) - 1, size))
        # A step reads no summary, and the context of the last step only with input feeding. Without it, the context
        # gives the dropout mask its shape, and dropout is off.
        encoder_output = EncoderOutput(keys, values, mask, summary=state[-1])
        features, weights, after = self.model.decode(tokens, encoder_output, DecoderState(layers, context=state[-1]))
        return log_probabilities(self.model.output(features[:, -1])), weights[:, -1], *_flat(after)


def _flat(state: DecoderState) -> list[Tensor]:
    return [*(part for layer in state.layers for part in layer), state.context]


@torch.no_grad()
def write_graphs(model: Seq2Seq, directory: Path) -> float:
    """Write encoder.onnx and decoder.onnx. Return their largest difference from the model in a log-probability.

    Raise UserError if the difference is larger than rounding errors.
    """
    encoder, decoder = _Encoder(model).eval(), _DecoderStep(model).eval()  # the exporter keeps this mode
    source, lengths = _example(model, [5, 3])
    encoded = encoder(source, lengths)
    states = [f"state_{i}" for i in range(len(encoded) - len(ENCODER_OUTPUT))]
    tokens = torch.full((len(lengths), 1), BOS)
    fed = [*ENCODER_OUTPUT, *states]
    _write(encoder, (source, lengths), directory / ENCODER, ["source", "lengths"], fed)
    outputs = ["log_probabilities", "attention", *(f"next_{name}" for name in states)]
    _write(decoder, (tokens, *encoded), directory / DECODER, ["tokens", *fed], outputs)
    difference = max(_difference(model, directory, lengths) for lengths in ([1], [9, 2, 1, 9], [30]))
    if not difference < TOLERANCE:
        raise UserError(
            f"the exported graphs differ from the model by {difference:.2g} in a log-probability, expected less than "
            f"{TOLERANCE}; nothing is exported. Report this with the model.json of the model"
        )
    return difference


def _write(module: nn.Module, inputs: tuple[Tensor, ...], path: Path, names: list[str], outputs: list[str]) -> None:
    """Write one graph. Each call of the graph may have any number of rows and any source length."""
    sequences = {"source", *ENCODER_OUTPUT, "attention"}
    axes = {name: {0: "rows", 1: "length"} if name in sequences else {0: "rows"} for name in [*names, *outputs]}
    with warnings.catch_warnings():
        # Warnings say that this exporter is old, and that the graph may work only for the shape of the example.
        # `_difference` tries other shapes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=outputs,
            dynamic_axes=axes,
        )


def _difference(model: Seq2Seq, directory: Path, lengths: list[int]) -> float:
    """Return the largest difference in a log-probability, over sentences of `lengths` and six target tokens each."""
    encoder, decoder = (onnxruntime.InferenceSession(directory / name) for name in (ENCODER, DECODER))
    source, sizes = _example(model, lengths)
    target = _ids(len(lengths), 6, model.output.out_features)
    encoder_output = model.encode(source, sizes)
    logits = model.output(model.decode(target, encoder_output, model.decoder.initial_state(encoder_output))[0])
    names = [output.name for output in encoder.get_outputs()]
    fed = dict(zip(names, encoder.run(None, {"source": source.numpy(), "lengths": sizes.numpy()}), strict=True))
    largest = 0.0
    for step in range(target.shape[1]):
        found, _, *states = decoder.run(None, fed | {"tokens": target[:, step : step + 1].numpy()})
        fed |= {f"state_{i}": state for i, state in enumerate(states)}
        expected = log_probabilities(logits[:, step]).numpy()
        real = np.isfinite(expected)
        if not (np.isfinite(found) == real).all():
            return float("inf")
        largest = max(largest, float(np.abs(found[real] - expected[real]).max()))
    return largest


def _example(model: Seq2Seq, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """Return padded source ids (B, S) and lengths (B,)."""
    sizes = torch.tensor(lengths)
    ids = _ids(len(lengths), max(lengths), model.source_embedding.num_embeddings)
    return ids.masked_fill(torch.arange(max(lengths)) >= sizes[:, None], PAD), sizes


def _ids(rows: int, columns: int, vocabulary: int) -> Tensor:
    """Return ids (rows, columns) from the whole vocabulary, except for special ids."""
    spread = 97 * torch.arange(rows)[:, None] + 31 * torch.arange(columns)
    return EOS + 1 + spread % (vocabulary - EOS - 1)
