"""Scheduled sampling: the drawn tokens are the model's at that step, and the schedule of the rate."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.tokenizer import BOS, EOS, PAD, UNK
from pipeline.plumbing.params import ModelSettings, TrainSettings
from pipeline.seq2seq import model as model_module
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.scheduled_sampling import Sampler, sampling_rate
from tests.test_model import KINDS

V = 12
SCHEDULES = ["linear", "exponential", "inverse_sigmoid"]


def build(**settings: object) -> Seq2Seq:
    torch.manual_seed(1)
    sizes = {"embedding_size": 6, "hidden_size": 8}
    model = Seq2Seq(ModelSettings.model_validate(sizes | settings), V, V).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    return model


def batch(copies: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return source, lengths, target and the places of real tokens, of two pairs that are repeated."""
    source = torch.tensor([[5, 6, 7, EOS], [9, EOS, PAD, PAD]]).repeat(copies, 1)
    target = torch.tensor([[10, 11, 4, EOS], [7, 8, EOS, PAD]]).repeat(copies, 1)
    return source, torch.tensor([4, 2]).repeat(copies), target, (target != PAD).flatten().nonzero()[:, 0]


class Chosen(Sampler):
    """Draws the tokens that a test chose, and notes the logits that it was given."""

    tokens: torch.Tensor
    logits: list[torch.Tensor]

    def draw(self, step: int, logits: torch.Tensor) -> torch.Tensor:
        assert not logits.requires_grad
        self.logits.append(logits)
        return self.tokens[:, step]


class Never(Sampler):
    """Draws nothing, not even random numbers."""

    def __init__(self, rate: float, inputs: torch.Tensor) -> None:
        self.is_drawn = torch.zeros(inputs.shape, dtype=torch.bool)

    def draw(self, step: int, logits: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(logits), dtype=torch.long)


@pytest.mark.parametrize("kind", [*KINDS, {"decoder_layers": 3, "residual": True}], ids=str)
def test_without_a_draw_the_loss_and_its_gradient_are_those_of_teacher_forcing(
    kind: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The masks of dropout, which is on, are the same too: one for all steps of a sentence."""
    model = build(dropout=0.3, word_dropout=0.0, **kind).train()
    source, lengths, target, real = batch()
    monkeypatch.setattr(model_module, "Sampler", Never)
    losses, gradients = [], []
    for rate in (0.0, 0.5):
        torch.manual_seed(5)
        loss = model(source, lengths, target, real, 0.1, rate)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, [*model.parameters()]))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)
    for whole, stepwise in zip(*gradients, strict=True):
        torch.testing.assert_close(stepwise, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_loss_is_that_of_a_decoder_that_reads_the_drawn_tokens(
    kind: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference reads all of them in one call, with the drawn tokens in the places of the reference's."""
    model = build(dropout=0.0, word_dropout=0.0, **kind)
    source, lengths, target, real = batch()
    Chosen.tokens, Chosen.logits = torch.randint(4, V, target.shape), []
    monkeypatch.setattr(model_module, "Sampler", Chosen)
    torch.manual_seed(3)
    loss = model(source, lengths, target, real, 0.0, 0.5)
    torch.manual_seed(3)
    is_drawn = Sampler(0.5, target).is_drawn
    is_drawn[:, 0] = False
    assert 0 < is_drawn.sum() < is_drawn.numel() - len(target)
    inputs = torch.where(is_drawn, Chosen.tokens, F.pad(target[:, :-1], (1, 0), value=BOS))
    encoder_output = model.encode(source, lengths)
    features, _, _ = model.decode(inputs, encoder_output, model.decoder.initial_state(encoder_output))
    logits = model.output(features)
    expected = F.cross_entropy(logits.flatten(0, 1)[real], target.flatten()[real], reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for step, seen in enumerate(Chosen.logits):  # the logits of a step are those that predict its successor's input
        torch.testing.assert_close(seen, logits[:, step].detach(), rtol=1e-10, atol=1e-12)
    found, wanted = (torch.autograd.grad(each, [*model.parameters()]) for each in (loss, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_tokens_are_drawn_with_the_probabilities_of_the_model() -> None:
    torch.manual_seed(2)
    draws, logits = 200_000, torch.randn(1, V) * 1.5
    logits[0, [PAD, UNK, BOS]] = 3.0  # probable, but never predicted
    sampler = Sampler(1.0, torch.zeros(draws, 2))
    drawn = sampler.draw(1, logits.expand(draws, -1))
    p = logits[0].double().softmax(0)
    p[[PAD, UNK, BOS]] = 0
    p /= p.sum()
    counts = torch.bincount(drawn, minlength=V).double()
    assert (counts[[PAD, UNK, BOS]] == 0).all()
    deviation = (counts - draws * p) / (draws * p * (1 - p)).sqrt().clamp_min(1e-9)
    assert deviation.abs().max() < 4.5


def test_inputs_are_drawn_at_the_rate_and_independently_of_each_other() -> None:
    torch.manual_seed(2)
    is_drawn = Sampler(0.3, torch.zeros(400, 500)).is_drawn
    assert float(is_drawn.double().mean()) == pytest.approx(0.3, abs=0.005)
    assert float((is_drawn[:, 1:] & is_drawn[:, :-1]).double().mean()) == pytest.approx(0.09, abs=0.005)
    assert Sampler(1.0, torch.zeros(9, 9)).is_drawn.all()
    torch.manual_seed(2)
    sampler = Sampler(1.0, torch.zeros(4000, 2))
    one, other = (sampler.draw(step, torch.zeros(4000, V)) for step in (0, 1))
    assert float((one == other).double().mean()) == pytest.approx(1 / (V - 3), abs=0.03)


@given(st.integers(0, 2**32), st.floats(0.1, 80))
def test_the_draw_is_one_that_can_be_predicted_whatever_the_logits(seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    drawn = Sampler(1.0, torch.zeros(50, 1)).draw(0, torch.randn(50, V) * scale)
    assert not {PAD, UNK, BOS} & set(drawn.tolist())
    assert int(drawn.max()) < V


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_draw_some_id(value: float) -> None:
    """Then the loss is not finite either, and the trainer skips the step and reports it."""
    drawn = Sampler(1.0, torch.zeros(50, 1)).draw(0, torch.full((50, V), value))
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < V


def settings(schedule: str, rate: float = 0.4) -> TrainSettings:
    return TrainSettings.model_validate({"sampling_schedule": schedule, "sampling_rate": rate})


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_grows_from_about_0_to_its_setting(schedule: str) -> None:
    rates = [sampling_rate(settings(schedule), step, 1000) for step in range(1, 1001)]
    assert all(earlier < later for earlier, later in zip(rates, rates[1:], strict=False))
    assert rates[0] < 0.4 * 0.006
    assert 0.4 * 0.99 < rates[-1] <= 0.4
    assert sampling_rate(settings(schedule, 0.0), 500, 1000) == 0


def test_the_schedules_have_the_shapes_of_the_paper() -> None:
    """They are linear, k ** i with k ** total = e ** -5, and k / (k + exp(i / k)), turned over."""
    half = {schedule: sampling_rate(settings(schedule, 1.0), 500, 1000) for schedule in SCHEDULES}
    assert half["linear"] == 0.5
    assert half["exponential"] == pytest.approx(1 - math.exp(-2.5))
    assert half["inverse_sigmoid"] == pytest.approx(0.5)
