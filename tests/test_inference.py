"""The network that translates, compared with the network that is trained, in float64."""

from copy import deepcopy

import pytest
import torch

from pipeline.plumbing.params import ModelSettings
from pipeline.seq2seq import inference
from pipeline.seq2seq.inference import Inference, StepGRU, StepLSTM
from pipeline.seq2seq.model import Seq2Seq

KINDS: list[dict[str, object]] = [
    {"cell": "lstm", "attention": "general"},
    {"cell": "gru", "attention": "dot", "tie_embeddings": "none"},
    {"cell": "gru", "attention": "additive", "decoder_layers": 2, "input_feeding": True, "first_state": "linear"},
    {"cell": "lstm", "attention": "additive", "decoder_layers": 3, "encoder_layers": 3, "residual": True},
    {"cell": "lstm", "attention": "none", "input_feeding": True},
    {"cell": "rnn", "attention": "dot", "decoder_layers": 2},
    {"cell": "lstm", "attention": "multihead", "attention_heads": 4},
]
V = 50


def build(**kind: object) -> Seq2Seq:
    torch.manual_seed(1)
    sizes = {"embedding_size": 24, "hidden_size": 32, "dropout": 0.3}
    return Seq2Seq(ModelSettings.model_validate(sizes | kind), V, V).eval()


@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@torch.no_grad()
def test_each_step_equals_that_of_the_trained_network(
    kind: dict[str, object], has_table: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sentence has three hypotheses, which share its encoder output."""
    if not has_table:
        monkeypatch.setattr(inference, "LARGEST_TABLE", 0)
    model = build(**kind)
    network, exact = Inference(model).network, deepcopy(model).double()
    source, lengths = torch.randint(4, V, (2, 6)), torch.tensor([6, 3])
    rows = torch.arange(2).repeat_interleave(3)
    output = network.encode(source, lengths)
    state = network.decoder.initial_state(output).select(rows)
    expected_output = exact.encode(source, lengths).select(rows)
    expected_state = exact.decoder.initial_state(expected_output)
    for _ in range(4):
        tokens = torch.randint(4, V, (6, 1))
        features, weights, state = network.decode(tokens, output, state)
        expected, expected_weights, expected_state = exact.decode(tokens, expected_output, expected_state)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features.double(), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(weights.view(6, 1, -1), expected_weights.float(), rtol=0, atol=1e-6)
        for layer, expected_layer in zip(state.layers, expected_state.layers, strict=True):
            for part, expected_part in zip(layer, expected_layer, strict=True):
                torch.testing.assert_close(part.double(), expected_part, rtol=0, atol=1e-6)


def test_the_model_itself_stays_as_it_is() -> None:
    model = build(cell="lstm")
    before = {name: (id(weight), weight.clone()) for name, weight in model.state_dict(keep_vars=True).items()}
    network = Inference(model).network
    assert isinstance(network.decoder.first, StepLSTM)
    assert isinstance(Inference(build(cell="gru")).network.decoder.first, StepGRU)
    assert network.source_embedding.weight is model.source_embedding.weight  # not a copy
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, (identity, weight) in before.items():
        assert id(after[name]) == identity
        assert (after[name] == weight).all()


@pytest.mark.parametrize(
    ("kind", "rows"),
    [({"cell": "lstm"}, 4), ({"cell": "gru", "decoder_layers": 2}, 3), ({"cell": "gru", "input_feeding": True}, None)],
    ids=str,
)
def test_the_products_of_the_embeddings_are_a_table_unless_it_is_too_large(
    kind: dict[str, object], rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens of a network with input feeding have no product of their own."""
    model = build(**kind)
    size = V * (rows or 0) * 32
    for limit, has_table in ((4 * size, rows is not None), (4 * size - 1, False)):
        monkeypatch.setattr(inference, "LARGEST_TABLE", limit)
        assert (Inference(model).network.target_embedding.weight.numel() == size) is has_table


def test_other_number_formats_use_the_trained_network() -> None:
    model = build(cell="lstm").double()
    assert Inference(model).network is model
