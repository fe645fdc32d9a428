"""The network: a bidirectional recurrent encoder, a recurrent decoder, and attention between them.

Shapes: B batch, S source length, T target length, E embedding size, H hidden size, V target vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.tokenizer import BOS, PAD, UNK
from ..plumbing.params import ModelSettings
from .attention import build_attention
from .encoder import FIRST_RESIDUAL, RECURRENT, Encoder, TimelessDropout
from .loss import smoothed_cross_entropy
from .scheduled_sampling import Sampler

FIRST_STATE = {"tanh": nn.Tanh, "linear": nn.Identity}
# Given the embedded input (B, 1, E) of a step, the step's number, and [context ; state] (B, 1, 2H) of the step before,
# return the input to read instead.
Replace = Callable[[Tensor, int, Tensor], Tensor]


@dataclass(frozen=True)
class EncoderOutput:
    """The encoder's output, which the decoder attends to. With attention `none` it is one vector: S is 1."""

    keys: Tensor  # (B, S, H)
    values: Tensor  # (B, S, H)
    mask: Tensor  # (B, S), True at real tokens
    summary: Tensor  # (B, H): last state of the forward direction, first state of the backward direction

    def select(self, rows: Tensor) -> "EncoderOutput":
        """Return the output for some sentences of the batch. `rows` are their indices, which may repeat."""
        return EncoderOutput(self.keys[rows], self.values[rows], self.mask[rows], self.summary[rows])


@dataclass(frozen=True)
class DecoderState:
    """The decoder's state between two steps."""

    layers: tuple[tuple[Tensor, ...], ...]  # for each layer (h,) of a GRU or RNN, or (h, c) of an LSTM, each (B, H)
    context: Tensor  # (B, H): the context of the last step, for input feeding

    def select(self, rows: Tensor) -> "DecoderState":
        """Return the state of some sentences of the batch, as `EncoderOutput.select` does."""
        return DecoderState(tuple(tuple(part[rows] for part in layer) for layer in self.layers), self.context[rows])


class Decoder(nn.Module):
    """Recurrent decoder. The states of its first layer are the queries of the attention.

    With one layer it is the decoder of Luong et al. 2015 (arXiv 1508.04025), in which attention follows the recurrent
    layer. With more layers it has the layout of GNMT (Wu et al. 2016, arXiv 1609.08144, section 3): each upper layer
    reads [state below ; context]. Each layer runs over the whole target in one call. With `input_feeding` (Luong et
    al., section 3.3) the decoder runs step by step instead, because each step reads the context of the previous step.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        layer, hidden = RECURRENT[settings.cell], settings.hidden_size
        self.input_feeding, self.residual = settings.input_feeding, settings.residual
        self.is_lstm = settings.cell == "lstm"
        first_size = settings.embedding_size + (hidden if settings.input_feeding else 0)
        self.first = layer(first_size, hidden, batch_first=True)
        self.upper = nn.ModuleList(
            layer(2 * hidden, hidden, batch_first=True) for _ in range(settings.decoder_layers - 1)
        )
        self.attention = build_attention(settings)
        self.bridge = nn.Linear(hidden, hidden * settings.decoder_layers)
        self.squash = FIRST_STATE[settings.first_state]()
        self.dropout = TimelessDropout(settings.dropout)

    def initial_state(self, encoder_output: EncoderOutput) -> DecoderState:
        """Return `tanh(W summary + b)` for each layer, as in Bahdanau et al. 2014 (arXiv 1409.0473, appendix A.2.2).

        With the setting `first_state: linear` it is `W summary + b`.
        """
        states = self.squash(self.bridge(encoder_output.summary)).chunk(1 + len(self.upper), dim=-1)
        layers = tuple((h, torch.zeros_like(h)) if self.is_lstm else (h,) for h in states)
        return DecoderState(layers, torch.zeros_like(encoder_output.summary))

    def forward(
        self, inputs: Tensor, encoder_output: EncoderOutput, state: DecoderState, replace: Replace | None = None
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Read embedded targets (B, T, E). Return [context ; state] (B, T, 2H), weights (B, T, S), the last state.

        `replace` may replace the input of each step but the first.

        With T = 1, `inputs` and `state` may have K rows for each sentence, one for each hypothesis, next to each other.
        All of them read the same row of `encoder_output`. The shapes are then (B * K, 1, 2H) and (B, K, S).
        """
        mask = self.dropout.mask(state.context[:, None, :])
        if not self.input_feeding and replace is None:
            return self._run(inputs, encoder_output, state, mask)
        features: list[Tensor] = []
        weights: list[Tensor] = []
        for number, step in enumerate(torch.split(inputs, 1, dim=1)):
            if replace is not None and number:
                step = replace(step, number, features[-1])
            if self.input_feeding:
                step = torch.cat([step, state.context[:, None, :].to(step.dtype)], dim=-1)
            feature, weight, state = self._run(step, encoder_output, state, mask)
            features.append(feature)
            weights.append(weight)
        return torch.cat(features, dim=1), torch.cat(weights, dim=1), state

    def _run(
        self, inputs: Tensor, encoder_output: EncoderOutput, state: DecoderState, mask: Tensor
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Run some steps in one call. `mask` (B, 1, H) is the dropout between two layers."""
        states, first = self._recur(self.first, inputs, state.layers[0])
        queries = states.view(encoder_output.keys.shape[0], -1, states.shape[2])
        context, weights = self.attention(queries, encoder_output.keys, encoder_output.values, encoder_output.mask)
        context = context.reshape(states.shape)
        layers = [first]
        for number, (layer, previous) in enumerate(zip(self.upper, state.layers[1:], strict=True), 1):
            below = states * mask
            states, last = self._recur(layer, torch.cat([below, context], dim=-1), previous)
            states = states + below if self.residual and number >= FIRST_RESIDUAL else states
            layers.append(last)
        return torch.cat([context, states * mask], dim=-1), weights, DecoderState(tuple(layers), context[:, -1])

    def _recur(self, layer: nn.Module, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one recurrent layer. torch requires a leading axis for the layers in its states."""
        parts = tuple(part[None].to(inputs.dtype) for part in state)
        outputs, last = layer(inputs, parts if self.is_lstm else parts[0])
        return outputs, tuple(part[0] for part in (last if self.is_lstm else (last,)))


class Seq2Seq(nn.Module):
    """The encoder-decoder with attention: p(y_t | y_<t, x) = softmax(W [c_t ; s_t] + b).

    c_t is the context and s_t the state of the last decoder layer (Luong et al. 2015, arXiv 1508.04025, equations 5
    and 6, without their tanh layer).
    """

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
        else:  # W is the embedding matrix times a projection to size E (Press and Wolf 2017, arXiv 1608.05859)
            self.projection = nn.Linear(2 * settings.hidden_size, settings.embedding_size, bias=False)
            self.output = nn.Linear(settings.embedding_size, target_vocabulary)
            self.output.weight = self.target_embedding.weight

    def encode(self, source: Tensor, lengths: Tensor) -> EncoderOutput:
        """Encode source ids (B, S). `lengths` (B,) are the numbers of real tokens, which padding follows."""
        states, summary = self.encoder(self._embed(self.source_embedding, source), lengths)
        return self.prepare(states, summary, lengths)

    def prepare(self, states: Tensor, summary: Tensor, lengths: Tensor) -> EncoderOutput:
        """Prepare the encoder's states (B, S, H) and their summary (B, H) for the decoder."""
        if self.uses_fixed_vector:  # the bottleneck: one vector for the whole sentence
            mask = torch.ones_like(lengths, dtype=torch.bool)[:, None]
            return EncoderOutput(summary[:, None], summary[:, None], mask, summary)
        mask = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        attention = self.decoder.attention
        return EncoderOutput(attention.project_keys(states), attention.project_values(states), mask, summary)

    def decode(
        self, tokens: Tensor, encoder_output: EncoderOutput, state: DecoderState
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Read target ids (B, T). Return the features (B, T, F), weights (B, T, S) and the last state.

        `self.output` makes logits of the next ids from features. They are [context ; state], projected to size E if
        embeddings are tied. Several hypotheses of a sentence may be decoded at once, as `Decoder.forward` says.
        """
        features, weights, state = self.decoder(self._embed(self.target_embedding, tokens), encoder_output, state)
        return self.projection(features), weights, state

    def forward(
        self,
        source: Tensor,
        lengths: Tensor,
        target: Tensor,
        real: Tensor,
        label_smoothing: float = 0.0,
        sampling_rate: float = 0.0,
    ) -> Tensor:
        """Return the cross-entropy in nats, summed over the real tokens of `target` (B, T), which end in EOS.

        With teacher forcing, the decoder reads the target shifted right by BOS, not its own predictions. It reads its
        own at a share of the steps, `sampling_rate`. `source` is (B, S) and `lengths` (B,). `real` (N,) are the places
        of the real tokens in the flattened target. A GPU that had to find them would make the processor wait for their
        number.
        """
        encoder_output = self.encode(source, lengths)
        inputs = shifted(target)
        if sampling_rate:
            features = self._decode_sampled(inputs, encoder_output, sampling_rate)
        else:
            features, _, _ = self.decode(inputs, encoder_output, self.decoder.initial_state(encoder_output))
        real_features, real_target = features.flatten(0, 1).index_select(0, real), target.flatten()[real]
        return smoothed_cross_entropy(real_features, self.output.weight, self.output.bias, real_target, label_smoothing)

    def attend(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Return the attention weights (B, T, S) of teacher forcing, with arguments as those of `forward`."""
        encoder_output = self.encode(source, lengths)
        state = self.decoder.initial_state(encoder_output)
        weights: Tensor = self.decode(shifted(target), encoder_output, state)[1]
        return weights

    def _decode_sampled(self, inputs: Tensor, encoder_output: EncoderOutput, rate: float) -> Tensor:
        """Read ids (B, T), each but the first replaced at this rate by one that is drawn from the step before.

        Return the features (B, T, F).
        """
        sampler = Sampler(rate, inputs)
        mask = self.dropout.mask(self.target_embedding(inputs[:, :1]))

        def replace(embedded: Tensor, step: int, features: Tensor) -> Tensor:
            with torch.no_grad():
                drawn = sampler.draw(step, self.output(self.projection(features))[:, 0])
            own = self._embed(self.target_embedding, drawn[:, None], mask)
            return torch.where(sampler.is_drawn[:, step, None, None], own, embedded)

        embedded, state = self._embed(self.target_embedding, inputs, mask), self.decoder.initial_state(encoder_output)
        features, _, _ = self.decoder(embedded, encoder_output, state, replace)
        projected: Tensor = self.projection(features)
        return projected

    def _embed(self, embedding: nn.Embedding, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embed ids. In training, drop features, with a mask (B, 1, E) or a new one, and replace some ids by <unk>.

        The replacement is that of Sennrich and Zhang 2019 (arXiv 1905.11901, section 3).
        """
        if self.training and self.word_dropout:
            ids = ids.masked_fill(torch.rand(ids.shape, device=ids.device) < self.word_dropout, UNK)
        embedded: Tensor = embedding(ids)
        return self.dropout(embedded) if mask is None else embedded * mask


def shifted(target: Tensor) -> Tensor:
    """Return what the decoder reads to predict target ids (B, T): the same, shifted right by BOS."""
    return F.pad(target[:, :-1], (1, 0), value=BOS)


def _embedding(vocabulary: int, size: int) -> nn.Embedding:
    """Return an embedding. Its weights are so small that a tied output layer starts with nearly equal probabilities."""
    embedding = nn.Embedding(vocabulary, size, padding_idx=PAD)
    nn.init.normal_(embedding.weight, std=size**-0.5)
    with torch.no_grad():
        embedding.weight[PAD].zero_()
    return embedding
