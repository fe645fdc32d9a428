"""Owns the network: bidirectional recurrent encoder, recurrent decoder, attention between them.

Knows token ids and shapes; knows nothing of text, batches, optimisers or search.

Shapes: B batch, S source length, T target length, E embedding, H hidden, V target vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.tokenizer import BOS, PAD, UNK
from ..plumbing.params import ModelSettings
from .attention import build_attention
from .loss import smoothed_cross_entropy

RECURRENT = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder hands to the decoder. With attention `none`, S is 1: the whole sentence in one vector."""

    keys: Tensor  # (B, S, H)
    values: Tensor  # (B, S, H)
    mask: Tensor  # (B, S), True at real tokens
    summary: Tensor  # (B, H): last state of the forward direction, first state of the backward direction

    def select(self, rows: Tensor) -> "EncoderOutput":
        return EncoderOutput(self.keys[rows], self.values[rows], self.mask[rows], self.summary[rows])


@dataclass(frozen=True)
class DecoderState:
    """The decoder between two steps."""

    layers: tuple[tuple[Tensor, ...], ...]  # a layer: (h,) of a GRU or (h, c) of an LSTM, each (B, H)
    context: Tensor  # (B, H): the last step's context, read by input feeding

    def select(self, rows: Tensor) -> "DecoderState":
        return DecoderState(tuple(tuple(part[rows] for part in layer) for layer in self.layers), self.context[rows])


class TimelessDropout(nn.Dropout):
    """Dropout with one mask for all steps of a sentence (Gal and Ghahramani 2016, arXiv 1512.05287).

    Made for recurrent networks; and far fewer random numbers to draw, which take a tenth of a training step otherwise.
    """

    def mask(self, like: Tensor) -> Tensor:
        """(B, 1, features) factors for `like` (B, any length, features): all 1 outside of training."""
        return super().forward(torch.ones_like(like[:, :1]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.mask(inputs) if self.training else inputs


class Encoder(nn.Module):
    """Bidirectional recurrent layers, each direction of half the width (Schuster and Paliwal 1997).

    The backward direction reads each sentence reversed within its own length, so that padding comes last in both
    directions and changes no real state; no packing is needed, and the library's fused kernels stay in use.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        layer = RECURRENT[settings.cell]
        sizes = [settings.embedding_size] + [settings.hidden_size] * (settings.encoder_layers - 1)
        self.forwards = nn.ModuleList(layer(size, settings.hidden_size // 2, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(layer(size, settings.hidden_size // 2, batch_first=True) for size in sizes)
        self.dropout = TimelessDropout(settings.dropout)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded source (B, S, E) and lengths (B,) -> states (B, S, H) and their summary (B, H)."""
        reversal = _reversal(lengths, inputs.shape[1])
        for ahead, back in zip(self.forwards, self.backwards, strict=True):
            forward_states = ahead(inputs)[0]
            backward_states = _reorder(back(_reorder(inputs, reversal))[0], reversal)
            inputs = self.dropout(torch.cat([forward_states, backward_states], dim=-1))
        half = inputs.shape[2] // 2
        last = inputs[torch.arange(len(lengths), device=lengths.device), lengths - 1, :half]
        return inputs, torch.cat([last, inputs[:, 0, half:]], dim=-1)


class Decoder(nn.Module):
    """Recurrent decoder; attention queries with the first layer's states, and what it finds feeds all above.

    One layer is Luong et al. 2015: attention after the recurrence. More are the layout of GNMT (Wu et al. 2016,
    arXiv 1609.08144, section 3): the upper layers read [state below ; context]. Either way every recurrence runs over
    the whole target in one call, unless `input_feeding` hands each step's context to the next step's input.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        layer, hidden = RECURRENT[settings.cell], settings.hidden_size
        self.input_feeding = settings.input_feeding
        self.is_lstm = settings.cell == "lstm"
        first_size = settings.embedding_size + (hidden if settings.input_feeding else 0)
        self.first = layer(first_size, hidden, batch_first=True)
        self.upper = nn.ModuleList(
            layer(2 * hidden, hidden, batch_first=True) for _ in range(settings.decoder_layers - 1)
        )
        self.attention = build_attention(settings.attention, hidden)
        self.bridge = nn.Linear(hidden, hidden * settings.decoder_layers)
        self.dropout = TimelessDropout(settings.dropout)

    def initial_state(self, encoder_output: EncoderOutput) -> DecoderState:
        """`tanh(W summary)` for each layer, as in Bahdanau et al. 2014 (arXiv 1409.0473, appendix A.2.2)."""
        states = torch.tanh(self.bridge(encoder_output.summary)).chunk(1 + len(self.upper), dim=-1)
        layers = tuple((h, torch.zeros_like(h)) if self.is_lstm else (h,) for h in states)
        return DecoderState(layers, torch.zeros_like(encoder_output.summary))

    def forward(
        self, inputs: Tensor, encoder_output: EncoderOutput, state: DecoderState
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Embedded target (B, T, E) -> [context ; state] (B, T, 2H), attention weights (B, T, S), last state."""
        mask = self.dropout.mask(encoder_output.summary[:, None, :])
        if not self.input_feeding:
            return self._run(inputs, encoder_output, state, mask)
        features, weights = [], []
        for step in torch.split(inputs, 1, dim=1):
            fed = torch.cat([step, state.context[:, None, :].to(step.dtype)], dim=-1)
            feature, weight, state = self._run(fed, encoder_output, state, mask)
            features.append(feature)
            weights.append(weight)
        return torch.cat(features, dim=1), torch.cat(weights, dim=1), state

    def _run(
        self, inputs: Tensor, encoder_output: EncoderOutput, state: DecoderState, mask: Tensor
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """One or all steps. `mask` (B, 1, H) is the dropout of whatever passes from one layer to the next."""
        states, first = self._recur(self.first, inputs, state.layers[0])
        context, weights = self.attention(states, encoder_output.keys, encoder_output.values, encoder_output.mask)
        layers = [first]
        for layer, previous in zip(self.upper, state.layers[1:], strict=True):
            states, last = self._recur(layer, torch.cat([states * mask, context], dim=-1), previous)
            layers.append(last)
        return torch.cat([context, states * mask], dim=-1), weights, DecoderState(tuple(layers), context[:, -1])

    def _recur(self, layer: nn.Module, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one recurrent layer; the library wants a leading axis of layers on its states."""
        parts = tuple(part[None].to(inputs.dtype) for part in state)
        outputs, last = layer(inputs, parts if self.is_lstm else parts[0])
        return outputs, tuple(part[0] for part in (last if self.is_lstm else (last,)))


class Seq2Seq(nn.Module):
    """The attention encoder-decoder: p(y_t | y_<t, x) = softmax(W [a_t ; s_t])."""

    def __init__(self, settings: ModelSettings, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.uses_fixed_vector = settings.attention == "none"
        self.word_dropout = settings.word_dropout
        self.dropout = TimelessDropout(settings.dropout)
        self.target_embedding = _embedding(target_vocabulary, settings.embedding_size)
        if settings.tie_embeddings == "all":
            self.source_embedding = self.target_embedding
        else:
            self.source_embedding = _embedding(source_vocabulary, settings.embedding_size)
        self.encoder = Encoder(settings)
        self.decoder = Decoder(settings)
        if settings.tie_embeddings == "none":
            self.projection: nn.Module = nn.Identity()
            self.output = nn.Linear(2 * settings.hidden_size, target_vocabulary)
        else:  # W is the embedding matrix times a projection to its width (Press and Wolf 2017, arXiv 1608.05859)
            self.projection = nn.Linear(2 * settings.hidden_size, settings.embedding_size, bias=False)
            self.output = nn.Linear(settings.embedding_size, target_vocabulary)
            self.output.weight = self.target_embedding.weight

    def encode(self, source: Tensor, lengths: Tensor) -> EncoderOutput:
        """Source ids (B, S), padded after each sentence's `lengths` (B,) -> what the decoder reads."""
        states, summary = self.encoder(self._embed(self.source_embedding, source), lengths)
        if self.uses_fixed_vector:  # the bottleneck: nothing but one fixed vector is left of the sentence
            mask = torch.ones_like(lengths, dtype=torch.bool)[:, None]
            return EncoderOutput(summary[:, None], summary[:, None], mask, summary)
        mask = torch.arange(source.shape[1], device=source.device) < lengths[:, None]
        return EncoderOutput(self.decoder.attention.project_keys(states), states, mask, summary)

    def decode(
        self, tokens: Tensor, encoder_output: EncoderOutput, state: DecoderState
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Target ids (B, T) read so far -> logits of the next (B, T, V), attention weights (B, T, S), state."""
        features, weights, state = self._features(tokens, encoder_output, state)
        return self.output(features), weights, state

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Teacher forcing: cross-entropy (nats) summed over the real tokens of `target` (B, T), which ends in EOS.

        The decoder reads BOS and the target but its last token, whatever it would have said itself.
        """
        encoder_output = self.encode(source, lengths)
        inputs = F.pad(target[:, :-1], (1, 0), value=BOS)
        features, _, _ = self._features(inputs, encoder_output, self.decoder.initial_state(encoder_output))
        real = target != PAD
        return smoothed_cross_entropy(
            features[real], self.output.weight, self.output.bias, target[real], label_smoothing
        )

    def _features(
        self, tokens: Tensor, encoder_output: EncoderOutput, state: DecoderState
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """What the output layer reads: [context ; state], projected to the embedding's width if that is tied."""
        features, weights, state = self.decoder(self._embed(self.target_embedding, tokens), encoder_output, state)
        return self.projection(features), weights, state

    def _embed(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        """Embed ids; in training, some are replaced by <unk> (Sennrich and Zhang 2019, arXiv 1905.11901, section 3)."""
        if self.training and self.word_dropout:
            ids = ids.masked_fill(torch.rand(ids.shape, device=ids.device) < self.word_dropout, UNK)
        embedded: Tensor = self.dropout(embedding(ids))
        return embedded


def _embedding(vocabulary: int, size: int) -> nn.Embedding:
    """Small enough that a tied output layer starts with a nearly uniform distribution."""
    embedding = nn.Embedding(vocabulary, size, padding_idx=PAD)
    nn.init.normal_(embedding.weight, std=size**-0.5)
    with torch.no_grad():
        embedding.weight[PAD].zero_()
    return embedding


def _reversal(lengths: Tensor, size: int) -> Tensor:
    """(B, S) positions that reverse each row within its length and leave the padding where it is."""
    positions = torch.arange(size, device=lengths.device)[None, :]
    return torch.where(positions < lengths[:, None], lengths[:, None] - 1 - positions, positions)


def _reorder(states: Tensor, positions: Tensor) -> Tensor:
    return states.gather(1, positions[:, :, None].expand(-1, -1, states.shape[2]))
