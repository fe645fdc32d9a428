"""The network: padding, decoding step by step, loss, the bottleneck without attention, tied weights, dropout."""

import itertools
from collections.abc import Callable

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
        [("lstm", "general"), ("gru", "dot"), ("rnn", "additive"), ("gru", "multihead"), ("lstm", "none")],
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


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("cell", "of_torch"), [("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU), ("rnn", torch.nn.RNN)])
def test_states_and_their_gradients_equal_those_of_packed_sequences(
    cell: str, of_torch: type[torch.nn.LSTM | torch.nn.GRU | torch.nn.RNN], layers: int
) -> None:
    """The reference is torch's bidirectional network of the same weights, which never sees the padding."""
    model = build(cell=cell, encoder_layers=layers)
    packing = of_torch(6, 4, num_layers=layers, batch_first=True, bidirectional=True).double()
    for layer in range(layers):
        for direction, ours in (("", model.encoder.forwards), ("_reverse", model.encoder.backwards)):
            for name, weight in ours[layer].named_parameters():
                packing.load_state_dict({name.replace("l0", f"l{layer}") + direction: weight}, strict=False)
    source = torch.tensor([[9, 10, EOS, PAD, PAD], [5, 6, 7, 8, EOS], [EOS, PAD, PAD, PAD, PAD]])
    lengths = torch.tensor([3, 5, 1])
    embedded = model.source_embedding(source).detach()
    ours_in, theirs_in = embedded.clone().requires_grad_(), embedded.clone().requires_grad_()
    packed = torch.nn.utils.rnn.pack_padded_sequence(theirs_in, lengths, batch_first=True, enforce_sorted=False)
    outputs, last = packing(packed)
    last = last[0] if cell == "lstm" else last
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    states, summary = model.encoder(ours_in, lengths)
    real = source != PAD
    torch.testing.assert_close(states[real], expected[real])
    torch.testing.assert_close(summary, torch.cat([last[-2], last[-1]], dim=-1))
    for inputs, found in ((ours_in, states), (theirs_in, expected)):
        (found[real] ** 2).sum().backward()
        assert (inputs.grad[~real] == 0).all()
    torch.testing.assert_close(ours_in.grad, theirs_in.grad)


@pytest.mark.parametrize(("first_state", "squash"), [("tanh", torch.tanh), ("linear", lambda projected: projected)])
def test_the_first_state_is_made_of_the_encoders_last_states(
    first_state: str, squash: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    model = build(cell="gru", decoder_layers=2, first_state=first_state)
    source, lengths, _ = batch()
    output = model.encode(source, lengths)
    bridge = model.decoder.bridge
    expected = squash(output.summary @ bridge.weight.T + bridge.bias)
    found = torch.cat([layer[0] for layer in model.decoder.initial_state(output).layers], dim=-1)
    torch.testing.assert_close(found, expected)


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
