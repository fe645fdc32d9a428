"""The encoder: bidirectional recurrent layers over padded sentences.

Shapes: B batch, S source length, E embedding size, H hidden size.
"""

import torch
from torch import Tensor, nn

from ..plumbing.params import ModelSettings

RECURRENT = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
FIRST_RESIDUAL = 2  # the third layer is the first whose inputs are added to its outputs (GNMT, section 3.1)


class TimelessDropout(nn.Dropout):
    """Dropout with the same mask in all steps of a sentence (Gal and Ghahramani 2016, arXiv 1512.05287).

    It suits recurrent networks. It also draws far fewer random numbers. Drawing a mask for each step would take a tenth
    of a training step.
    """

    def mask(self, like: Tensor) -> Tensor:
        """Return factors (B, 1, features) for `like` (B, any length, features). They are 1 when not training."""
        return super().forward(torch.ones_like(like[:, :1]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.mask(inputs) if self.training else inputs


class Encoder(nn.Module):
    """Bidirectional recurrent layers with H / 2 units in each direction (Schuster and Paliwal 1997).

    The backward direction reads each sentence reversed within its own length. So padding comes last in both directions
    and changes no state of a real token. Packed sequences are not needed, and torch's fused kernels can be used.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        layer = RECURRENT[settings.cell]
        sizes = [settings.embedding_size] + [settings.hidden_size] * (settings.encoder_layers - 1)
        self.forwards = nn.ModuleList(layer(size, settings.hidden_size // 2, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(layer(size, settings.hidden_size // 2, batch_first=True) for size in sizes)
        self.dropout, self.residual = TimelessDropout(settings.dropout), settings.residual

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode embedded sources (B, S, E) with lengths (B,). Return states (B, S, H) and their summary (B, H)."""
        reversal = _reversal(lengths, inputs.shape[1])
        for number, (ahead, back) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            forward_states = ahead(inputs)[0]
            backward_states = _reorder(back(_reorder(inputs, reversal))[0], reversal)
            states = self.dropout(torch.cat([forward_states, backward_states], dim=-1))
            inputs = states + inputs if self.residual and number >= FIRST_RESIDUAL else states
        half = inputs.shape[2] // 2
        last = inputs[torch.arange(lengths.shape[0], device=lengths.device), lengths - 1, :half]
        return inputs, torch.cat([last, inputs[:, 0, half:]], dim=-1)


def _reversal(lengths: Tensor, size: int) -> Tensor:
    """Return positions (B, S) that reverse each row within its length and leave the padding in place."""
    positions = torch.arange(size, device=lengths.device)[None, :]
    return torch.where(positions < lengths[:, None], lengths[:, None] - 1 - positions, positions)


def _reorder(states: Tensor, positions: Tensor) -> Tensor:
    return states.gather(1, positions[:, :, None].expand(-1, -1, states.shape[2]))
