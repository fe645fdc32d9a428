"""Prepare a network for translation on a CPU: the same network, with weights in the layout that its kernels read.

Training and translation call the layers differently. Translation runs the decoder one token at a time, often for a few
hypotheses only, and the weights stay the same. torch's layers would bring all weights into another layout in each call,
which takes longer than the product itself. Here that is done once.

Shapes: R hypotheses, I input size, H hidden size.
"""

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from .cpu_kernels import has_cpu_kernels, linear
from .model import Seq2Seq
from .next_tokens import NextTokens

LARGEST_TABLE = 2**27  # bytes, see _tabulate_inputs


class Inference:
    """A network and the search for its next tokens. Both belong to the weights that `model` has now."""

    def __init__(self, model: Seq2Seq) -> None:
        self.device = model.output.weight.device
        self.network = _packed(model) if has_cpu_kernels(model.output.weight) else model
        self.next_tokens = NextTokens(model.output)


class PackedLinear(nn.Module):
    """nn.Linear with fixed weights (out, in) in oneDNN's layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features = len(weight)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.bias = None if bias is None else bias.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight, self.bias)

    def added_to(self, others: Tensor, inputs: Tensor) -> Tensor:
        """Return others + W inputs + b, in one operation."""
        product = torch.ops.mkldnn._linear_pointwise.binary(inputs, others, self.weight, self.bias, "add")
        return cast(Tensor, product)


class StepLSTM(nn.Module):
    """One step of an nn.LSTM: i, f, g, o = W x + b + U h, c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c')."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        of_inputs, of_state, bias, other_bias = layer.all_weights[0]
        self.of_inputs: nn.Module = PackedLinear(of_inputs, bias + other_bias)
        self.of_state = PackedLinear(of_state, None)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read inputs (R, 1, I) and h and c, each (1, R, H). Return h (R, 1, H) and the next state."""
        (x,), (h,), (c,) = inputs.unbind(1), *state
        gates = self.of_state.added_to(self.of_inputs(x), h).view(len(x), 4, -1)
        i, f, _, o = gates.sigmoid().unbind(1)  # one operation for all is faster than one for each
        c = torch.addcmul(f * c, i, gates[:, 2].tanh())
        h = o * c.tanh()
        return h[:, None], (h[None], c[None])


class StepGRU(nn.Module):
    """One step of an nn.GRU: r = σ(x_r + h_r), z = σ(x_z + h_z), n = tanh(x_n + r h_n), h' = (1 - z) n + z h.

    x_r, x_z, x_n are W x + b, and h_r, h_z, h_n are U h + d.
    """

    def __init__(self, layer: nn.GRU) -> None:
        super().__init__()
        of_inputs, of_state, bias, other_bias = layer.all_weights[0]
        self.of_inputs: nn.Module = PackedLinear(of_inputs, bias)
        self.of_state = PackedLinear(of_state, other_bias)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read inputs (R, 1, I) and h (1, R, H). Return h (R, 1, H) and h (1, R, H)."""
        (x,), (h,) = inputs.unbind(1), state
        x_r, x_z, x_n = self.of_inputs(x).view(len(x), 3, -1).unbind(1)
        h_r, h_z, h_n = self.of_state(h).view(len(x), 3, -1).unbind(1)
        n = torch.addcmul(x_n, (x_r + h_r).sigmoid(), h_n).tanh()
        h = torch.lerp(n, h, (x_z + h_z).sigmoid())
        return h[:, None], h[None]


class StepRNN(nn.Module):
    """One step of an nn.RNN: h' = tanh(W x + b + U h)."""

    def __init__(self, layer: nn.RNN) -> None:
        super().__init__()
        of_inputs, of_state, bias, other_bias = layer.all_weights[0]
        self.of_inputs: nn.Module = PackedLinear(of_inputs, bias + other_bias)
        self.of_state = PackedLinear(of_state, None)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read inputs (R, 1, I) and h (1, R, H). Return h (R, 1, H) and h (1, R, H)."""
        (x,), (h,) = inputs.unbind(1), state
        h = self.of_state.added_to(self.of_inputs(x), h).tanh()
        return h[:, None], h[None]


STEPS: dict[type[nn.Module], type[nn.Module]] = {nn.LSTM: StepLSTM, nn.GRU: StepGRU, nn.RNN: StepRNN}


def _packed(model: Seq2Seq) -> Seq2Seq:
    """Return a copy of `model` that shares its other weights, and whose decoder runs one step in each call."""
    shared = {id(weight): weight for weight in model.parameters()}
    network = deepcopy(model, shared)
    decoder = network.decoder
    decoder.first = STEPS[type(decoder.first)](decoder.first)
    decoder.upper = nn.ModuleList(STEPS[type(layer)](layer) for layer in decoder.upper)
    if not decoder.input_feeding:
        _tabulate_inputs(network)
    for parent in (network, *decoder.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Linear) and layer is not network.output:  # NextTokens is used instead of the output
                setattr(parent, name, PackedLinear(layer.weight, layer.bias))
    return network


def _tabulate_inputs(network: Seq2Seq) -> None:
    """Compute `W x + b` of the first decoder layer once for each token of the vocabulary, unless that is too large.

    The table takes the place of the embedding, so the layer gets `W x + b` as its inputs.
    """
    first, embedded = network.decoder.first, network.target_embedding.weight.detach()
    if len(embedded) * first.of_inputs.out_features * embedded.element_size() <= LARGEST_TABLE:
        table = first.of_inputs(embedded)
        network.target_embedding = nn.Embedding.from_pretrained(table)  # type: ignore[no-untyped-call]
        first.of_inputs = nn.Identity()
