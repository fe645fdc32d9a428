"""Training: the same losses ten steps on, on any split into micro-batches, and after any interruption."""

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.nn.utils import parameters_to_vector

from pipeline.data.encoding import EncodedSide, EncodedSplit
from pipeline.data.tokenizer import EOS
from pipeline.plumbing.errors import Paused, UserError
from pipeline.plumbing.interruption import SIGNALS, Interruption
from pipeline.plumbing.params import ModelSettings, TrainSettings
from pipeline.processes import add_in_one_order
from pipeline.seq2seq.model import Seq2Seq
from pipeline.training.batching import Batch
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.out_of_memory import explain_out_of_memory
from pipeline.training.schedule import schedule
from pipeline.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("a_process_of_its_own")
# With a GPU, in bf16, `make test-gpu` runs the same there.
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
V = 24
SETTINGS: dict[str, Any] = {
    "epochs": 2, "batch_tokens": 200, "micro_batch_tokens": 50, "learning_rate": 1e-2, "warmup_steps": 4,
    "ema_decay": 0.9, "checkpoint_seconds": 10**6, "precision": "fp32",
}  # fmt: skip


def toy_split(pairs: int, seed: int) -> EncodedSplit:
    """Random sentences whose translation is themselves, reversed and one id up."""
    random = np.random.default_rng(seed)
    sources = [random.integers(4, V - 1, random.integers(2, 9)).tolist() for _ in range(pairs)]
    targets = [[i + 1 for i in reversed(source)] for source in sources]

    def side(sentences: list[list[int]]) -> EncodedSide:
        closed = [[*ids, EOS] for ids in sentences]
        return EncodedSide(np.concatenate(closed).astype(np.int32), np.cumsum([0, *map(len, closed)]))

    return EncodedSplit(side(sources), side(targets))


class Interrupted(Exception):
    pass


class StopAt(Interruption):
    """Asks a trainer to stop after a step."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self.trainer, self.step = trainer, step

    @property
    def reason(self) -> str | None:
        return "a test" if self.trainer.position.step + 1 >= self.step else None


@dataclass
class Run:
    """One training in this process, its metrics kept."""

    directory: Path
    settings: dict[str, Any] = field(default_factory=dict)
    stop_at: int = 10**9
    device: str = "cpu"
    network: dict[str, Any] = field(default_factory=dict)
    precision: str = ""  # no, bf16: Accelerate's words
    bleus: list[float] = field(default_factory=lambda: [0.0] * 50)  # what the validation of each epoch scores
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def trainer(self) -> Trainer:
        torch.manual_seed(1)
        network = {"embedding_size": 16, "hidden_size": 16, "dropout": 0.1, "word_dropout": 0.1, "decoder_layers": 2}
        model = Seq2Seq(ModelSettings(**network | self.network), V, V)
        on_cpu = self.device == "cpu"
        trainer = Trainer(
            TrainSettings.model_validate(SETTINGS | self.settings),
            model,
            toy_split(300, 1),
            toy_split(40, 2),
            Accelerator(cpu=on_cpu, mixed_precision=self.precision or ("no" if on_cpu else "bf16")),
            Checkpoints(self.directory / "checkpoints", {}, {"settings": self.settings}, self.directory / "journal"),
            lambda model: self.bleus[trainer.position.epoch],
            Interruption(None),
        )
        return trainer

    def log(self, metrics: dict[str, float], step: int) -> None:
        timeless = {name: value for name, value in metrics.items() if name != "train/tokens_per_second"}
        self.metrics.append((step, timeless))
        if step >= self.stop_at:
            raise Interrupted

    def fit(self) -> Trainer:
        trainer = self.trainer()
        trainer.fit(self.log)
        return trainer


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> None:
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=tolerance, atol=tolerance, msg=f"{name} differs")


GOLDEN_LOSS = 3.09569


def test_ten_steps_give_the_losses_that_they_always_gave(tmp_path: Path) -> None:
    """The golden loss: a refactoring must leave it as it is; a change of the model or the plan must say so here."""
    run = Run(tmp_path, stop_at=10)
    with pytest.raises(Interrupted):
        run.fit()
    assert run.metrics[0][1]["train/loss"] == pytest.approx(GOLDEN_LOSS, abs=2e-4)


@pytest.mark.parametrize(
    ("device", "cell", "precision", "tolerance"),
    [
        ("cpu", "lstm", "no", 1e-5),  # seen: 3e-7
        ("cpu", "gru", "bf16", 0.01),  # seen: 2e-3; every processor can, unlike with an LSTM
        pytest.param("cuda", "lstm", "no", 1e-3, marks=pytest.mark.gpu),
        pytest.param("cuda", "lstm", "bf16", 0.01, marks=pytest.mark.gpu),
    ],
)
def test_the_cut_into_micro_batches_changes_rounding_alone(
    tmp_path: Path, device: str, cell: str, precision: str, tolerance: float
) -> None:
    """Accumulation, without dropout: how far weights end from each other, of the way that they have come."""
    tokens = int(toy_split(300, 1).target.lengths.sum())
    plain = {"dropout": 0.0, "word_dropout": 0.0, "cell": cell}
    cuts = {"whole": (10 * tokens, 10 * tokens), "parts": (4 * tokens, tokens // 3)}
    ends = []
    for name, (batch, micro_batch) in cuts.items():
        settings = {"batch_tokens": batch, "micro_batch_tokens": micro_batch, "epochs": 4}
        run = Run(tmp_path / name, settings, device=device, network=plain, precision=precision)
        begin = parameters_to_vector(run.trainer().model.parameters()).detach()
        trainer = run.fit()
        assert trainer.position.step == 4
        ends.append(parameters_to_vector(trainer.model.parameters()).detach())
    assert (ends[0] - ends[1]).norm() < tolerance * (ends[0] - begin).norm()


@pytest.mark.gpu
def test_on_a_gpu_an_interrupted_training_differs_in_rounding_alone(tmp_path: Path) -> None:
    """Without train.deterministic."""
    expected = Run(tmp_path / "undisturbed", device="cuda").fit()
    paused = Run(tmp_path / "paused", device="cuda").trainer()
    paused.interruption = StopAt(paused, 13)
    with pytest.raises(Paused):
        paused.fit(lambda metrics, step: None)
    actual = Run(tmp_path / "paused", device="cuda").fit()
    ends = [parameters_to_vector(trainer.model.parameters()).detach() for trainer in (expected, actual)]
    assert (ends[0] - ends[1]).norm() < 0.01 * ends[0].norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stop_at", [10, 20])
def test_an_interrupted_training_ends_bit_identical(tmp_path: Path, device: str, stop_at: int) -> None:
    add_in_one_order()
    undisturbed = Run(tmp_path / "undisturbed", device=device)
    expected = undisturbed.fit()
    interrupted = Run(tmp_path / "interrupted", stop_at=stop_at, device=device)
    trainer = interrupted.trainer()
    trainer.settings = trainer.settings.model_copy(update={"checkpoint_seconds": 0})  # after every step
    with pytest.raises(Interrupted):
        trainer.fit(interrupted.log)
    resumed = Run(tmp_path / "interrupted", device=device)
    actual = resumed.fit()
    assert actual.position.step == expected.position.step
    assert_same_weights(expected.model.state_dict(), actual.model.state_dict(), 0)
    assert_same_weights(expected.best_weights, actual.best_weights, 0)
    assert resumed.metrics[-1] == undisturbed.metrics[-1]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stop_at", [1, 10, 13])
def test_asked_to_stop_it_saves_and_goes_on_bit_identical(tmp_path: Path, device: str, stop_at: int) -> None:
    add_in_one_order()
    undisturbed = Run(tmp_path / "undisturbed", device=device)
    expected = undisturbed.fit()
    paused = Run(tmp_path / "paused", device=device)
    trainer = paused.trainer()
    trainer.interruption = StopAt(trainer, stop_at)
    with pytest.raises(Paused, match=rf"stopped by a test after step {stop_at} of"):
        trainer.fit(paused.log)
    resumed = Run(tmp_path / "paused", device=device)
    assert resumed.trainer().position.step == stop_at
    assert_same_weights(expected.best_weights, resumed.fit().best_weights, 0)
    assert resumed.metrics[-1] == undisturbed.metrics[-1]


def test_the_clock_asks_to_stop() -> None:
    assert Interruption(None).reason is None
    assert Interruption(60.0).reason is None
    assert Interruption(1e-9).reason == "train.max_minutes (1e-09)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_asks_to_stop_and_a_second_ctrl_c_stops(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    try:
        interruption = Interruption(None)
        signal.raise_signal(number)
        assert interruption.reason == number.name
        if number == signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        else:
            signal.raise_signal(number)
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def test_steps_that_are_not_finite_are_left_out_up_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Run(tmp_path, {"max_skipped_steps": 2, "epochs": 1}).trainer()
    usual, seen = trainer._loss, []

    def poisoned(batch: Batch, place: int) -> torch.Tensor:
        step = trainer.position.step
        if place == 0:
            seen.append({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
        return usual(batch, place) * (float("inf") if step in (3, 5, 7) and place == 1 else 1.0)

    monkeypatch.setattr(trainer, "_loss", poisoned)
    rows = sorted(trainer.plan(0)[3].micro_batches[1])
    with pytest.raises(UserError, match=r"loss of step 8 .*or let train.max_skipped_steps \(now 2\)"):
        trainer.fit(lambda metrics, step: None)
    assert f"of the pairs {', '.join(map(str, rows))} of encoded/train.arrow" in caplog.messages[0]
    assert_same_weights(seen[3], seen[4], 0)  # step 4 changed nothing
    assert_same_weights(seen[5], seen[6], 0)
    assert any((seen[4][name] != seen[5][name]).any() for name in seen[4])
    assert all(tensor.isfinite().all() for tensor in trainer.model.state_dict().values())


def test_a_batch_that_does_not_fit_is_described(tmp_path: Path) -> None:
    """A real shortage: 4 TB, which no machine of these tests has."""
    batch = Batch(torch.zeros(3, 7), torch.zeros(3), torch.zeros(3, 11))
    with (
        pytest.raises(UserError, match=r"micro-batch of 3 pairs, 7 source and 11 target .*lower train.micro_batch_tok"),
        explain_out_of_memory(batch, 1000),
    ):
        torch.empty(10**12, dtype=torch.float32).fill_(1)
    with pytest.raises(RuntimeError, match="else"), explain_out_of_memory(batch, 1000):
        raise RuntimeError("something else")


def test_training_learns_and_keeps_the_best_weights(tmp_path: Path) -> None:
    run = Run(tmp_path, {"epochs": 20, "learning_rate": 3e-2})
    trainer = run.fit()
    losses = [metrics["validation/loss"] for _, metrics in run.metrics if "validation/loss" in metrics]
    assert losses[-1] < 0.7 * losses[0]
    assert trainer.position.best_loss == min(losses)
    model = trainer.averaged.module
    model.load_state_dict(trainer.best_weights)
    assert trainer._validation_loss(model.eval()) == pytest.approx(min(losses), abs=1e-6)


@pytest.mark.parametrize("paused_in", [None, 2, 4], ids=lambda epoch: f"paused in {epoch}")
def test_the_weights_of_the_best_bleu_are_kept_not_the_last_and_not_those_of_the_least_loss(
    tmp_path: Path, paused_in: int | None
) -> None:
    """Also over an interruption: it is the averaged weights as they were validated."""
    run = Run(tmp_path, {"epochs": 9, "learning_rate": 3e-2, "patience": 3}, bleus=[1.0, 7.0, 3.0, 6.0, 6.9, 50.0])
    validated: dict[int, dict[str, torch.Tensor]] = {}

    def watched() -> Trainer:
        trainer = run.trainer()
        score = trainer.score

        def watch(model: Seq2Seq) -> float:
            assert not model.training
            validated[trainer.position.epoch] = {name: w.clone() for name, w in model.state_dict().items()}
            return score(model)

        trainer.score = watch
        return trainer

    trainer = watched()
    if paused_in:
        trainer.interruption = StopAt(trainer, paused_in * trainer.steps_per_epoch + 3)
        with pytest.raises(Paused):
            trainer.fit(run.log)
        trainer = watched()
    trainer.fit(run.log)
    assert (trainer.position.best_epoch, trainer.position.best_bleu, trainer.position.epoch) == (2, 7.0, 5)
    losses = [metrics["validation/loss"] for _, metrics in run.metrics if "validation/loss" in metrics]
    assert trainer.position.best_loss == losses[1] > min(losses)
    assert_same_weights(trainer.best_weights, validated[1], 0)
    assert (trainer.best_weights["output.bias"] != validated[4]["output.bias"]).any()


@pytest.mark.parametrize(("tying", "names"), [("all", 3), ("target", 2), ("none", 1)])
def test_a_checkpoint_holds_tied_weights_once(tmp_path: Path, tying: str, names: int) -> None:
    trainer = Run(tmp_path, {"epochs": 1}, network={"tie_embeddings": tying}).fit()
    state = trainer.checkpoints.latest()
    assert state is not None
    for weights in (state["model"], state["best_weights"]):
        tied = weights["target_embedding.weight"]
        assert sum(tensor.data_ptr() == tied.data_ptr() for tensor in weights.values()) == names
        assert len({tensor.data_ptr() for tensor in weights.values()}) == len(weights) - names + 1
    assert_same_weights(state["best_weights"], trainer.best_weights, 0)


def test_training_stops_when_patience_runs_out(tmp_path: Path) -> None:
    run = Run(tmp_path, {"epochs": 50, "patience": 2, "learning_rate": 1e-9})
    run.settings["ema_decay"] = 0.0
    trainer = run.fit()
    assert trainer.position.epoch <= trainer.position.best_epoch + 2 < 50


def test_a_gradient_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    trainer = Run(tmp_path).trainer()
    with torch.no_grad():
        trainer.model.output.bias[5] = float("nan")
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    rows = sorted(row for rows in trainer.plan(0)[0].micro_batches for row in rows)
    with pytest.raises(UserError, match=r"loss of step 1 \(epoch 1\) is not finite.*train.learning_rate") as caught:
        trainer.fit(lambda metrics, step: None)
    assert f"of the pairs {', '.join(map(str, rows))} of encoded/train.arrow" in str(caught.value)
    for name, tensor in trainer.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_the_learning_rate_rises_and_then_falls_to_nothing() -> None:
    rates = [schedule(step, 10, 100) for step in range(1, 101)]
    assert rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert schedule(1, 0, 100) == pytest.approx(1, abs=1e-3)


def test_the_facts_say_how_training_went(tmp_path: Path) -> None:
    facts = Run(tmp_path, {"epochs": 1}).fit().facts()
    assert (facts.epochs, facts.best_epoch, facts.precision, facts.skipped_steps) == (1, 1, "fp32", 0)
