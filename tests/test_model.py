"""The network: padding, decoding step by step, loss, the bottleneck without attention, tied weights, dropout."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from pipeline.data.tokenizer import BOS, EOS, PAD
from pipeline.plumbing.params import ModelSettings
from pipeline.seq2seq.model import Seq2Seq

V = 17
KINDS = [
    {"cell": cell, "attention": attention, "decoder_layers": layers, "input_feeding": feeding, "tie_embeddings": tie}
    for (cell, attention), (layers, feeding, tie) in itertools.product(
        [("lstm", "general"), ("gru", "dot"), ("lstm", "additive"), ("gru", "multihead"), ("gru", "none")],
        [(1, False, "all"), (2, False, "target"), (2, True, "none")],
    )
]


def build(**settings: object) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"embedding_size": 6, "hidden_size": 8, "dropout": 0.2, "encoder_layers": 2}
    return Seq2Seq(ModelSettings.model_validate(sizes | settings), V, V).double().eval()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.tensor([[5, 6, 7, 8, EOS], [9, 10, EOS, PAD, PAD]])
    target = torch.tensor([[11, 12, EOS, PAD], [13, 14, 15, EOS]])
    return source, torch.tensor([5, 3]), target


def logits_of(model: Seq2Seq, source: torch.Tensor, lengths: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    encoder_output = model.encode(source, lengths)
    inputs = F.pad(target[:, :-1], (1, 0), value=BOS)
    features, _, _ = model.decode(inputs, encoder_output, model.decoder.initial_state(encoder_output))
    logits: torch.Tensor = model.output(features)
    return logits


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_step_by_step_decoding_equals_the_whole_sequence(kind: dict[str, object]) -> None:
    model = build(**kind)
    source, lengths, target = batch()
    whole = logits_of(model, source, lengths, target)
    encoder_output = model.encode(source, lengths)
    state = model.decoder.initial_state(encoder_output)
    inputs = F.pad(target[:, :-1], (1, 0), value=BOS)
    for t in range(target.shape[1]):
        step, weights, state = model.decode(inputs[:, t : t + 1], encoder_output, state)
        torch.testing.assert_close(model.output(step)[:, 0], whole[:, t], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1), check_dtype=False)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_padding_changes_no_logits(kind: dict[str, object]) -> None:
    model = build(**kind)
    source, lengths, target = batch()
    together = logits_of(model, source, lengths, target)
    alone = logits_of(model, source[1:, :3], lengths[1:], target[1:])
    torch.testing.assert_close(alone[0], together[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_loss_is_the_cross_entropy_of_the_real_tokens(kind: dict[str, object]) -> None:
    model = build(**kind)
    source, lengths, target = batch()
    logits = logits_of(model, source, lengths, target)
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum", ignore_index=PAD)
    real = (target != PAD).flatten().nonzero()[:, 0]
    torch.testing.assert_close(model(source, lengths, target, real), expected)


def test_the_backward_direction_reads_from_the_last_real_token() -> None:
    """The reference is torch's bidirectional LSTM on a packed batch."""
    model = build(cell="lstm", encoder_layers=1)
    source, lengths, _ = batch()
    embedded = model.source_embedding(source)
    reference = torch.nn.LSTM(6, 4, batch_first=True, bidirectional=True).double()
    ours = {f"{name}": p for name, p in model.encoder.forwards[0].named_parameters()}
    ours |= {f"{name}_reverse": p for name, p in model.encoder.backwards[0].named_parameters()}
    reference.load_state_dict(ours)
    packed = torch.nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True)
    outputs, (last, _) = reference(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    states, summary = model.encoder(embedded, lengths)
    torch.testing.assert_close(states[0], expected[0])
    torch.testing.assert_close(states[1, :3], expected[1, :3])
    torch.testing.assert_close(summary, torch.cat([last[0], last[1]], dim=-1))


def test_without_attention_the_decoder_gets_one_vector() -> None:
    model = build(attention="none")
    source, lengths, _ = batch()
    encoder_output = model.encode(source, lengths)
    assert encoder_output.values.shape == (2, 1, 8)
    assert encoder_output.mask.all()


def test_tied_embeddings_are_one_matrix() -> None:
    tied, target_only, free = (build(tie_embeddings=tie) for tie in ("all", "target", "none"))
    assert tied.source_embedding.weight is tied.target_embedding.weight is tied.output.weight
    assert target_only.target_embedding.weight is target_only.output.weight
    assert target_only.source_embedding.weight is not target_only.target_embedding.weight
    assert free.output.weight.shape == (V, 16)


def test_dropout_uses_one_mask_for_all_steps_of_a_sentence() -> None:
    model = build(dropout=0.5).train()
    dropped = model.dropout(torch.ones(3, 4, 50, dtype=torch.float64))
    assert ((dropped == 0) | (dropped == 2)).all()
    assert (dropped == dropped[:, :1]).all()
    assert not (dropped[0] == dropped[1]).all()


def test_word_dropout_replaces_words_in_training_only() -> None:
    model = build(word_dropout=0.5, dropout=0.0)
    ids = torch.full((50, 40), 5)
    assert (model._embed(model.source_embedding, ids) == model.source_embedding.weight[5]).all()
    kept = (model.train()._embed(model.source_embedding, ids) == model.source_embedding.weight[5]).all(-1)
    assert 0.4 < kept.double().mean() < 0.6


@torch.no_grad()
def test_residual_connections_add_the_inputs_of_the_third_layer_and_of_those_above() -> None:
    model = build(cell="gru", attention="dot", encoder_layers=4, decoder_layers=4, residual=True)
    source, lengths = torch.tensor([[5, 6, 7, EOS]]), torch.tensor([4])
    states = model.source_embedding(source)
    for number, (ahead, back) in enumerate(zip(model.encoder.forwards, model.encoder.backwards, strict=True)):
        both = torch.cat([ahead(states)[0], back(states.flip(1))[0].flip(1)], dim=2)
        states = both + states if number in (2, 3) else both
    output = model.encode(source, lengths)
    torch.testing.assert_close(output.values, states)
    tokens = torch.tensor([[BOS, 11, 12]])
    state = model.decoder.initial_state(output)
    below = model.decoder.first(model.target_embedding(tokens), state.layers[0][0][None])[0]
    context = (below @ states.transpose(1, 2)).softmax(dim=-1) @ states
    for number, layer in enumerate(model.decoder.upper, 1):
        above = layer(torch.cat([below, context], dim=2), state.layers[number][0][None])[0]
        below = above + below if number in (2, 3) else above
    features, _, _ = model.decode(tokens, output, state)
    torch.testing.assert_close(features, model.projection(torch.cat([context, below], dim=2)))
