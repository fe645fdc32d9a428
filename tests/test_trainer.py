"""The trainer: golden loss, micro-batches, exact resume, stop requests, best weights, skipped steps."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sentencepiece import SentencePieceProcessor
from torch.nn.utils import parameters_to_vector

from pipeline.data.encoding import EncodedSide, EncodedSplit
from pipeline.data.tokenizer import EOS, Tokenizer
from pipeline.plumbing.errors import Paused, UserError
from pipeline.plumbing.params import ModelSettings, TrainSettings
from pipeline.processes import make_gpu_deterministic
from pipeline.seq2seq.model import Seq2Seq
from pipeline.training.batching import Batch
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.trainer import SIGNALS, StopRequest, Trainer
from pipeline.training.validation import Validation
from tests.launched import start

pytestmark = pytest.mark.usefixtures("a_process_of_its_own")
# `make test-gpu` runs the same tests on a GPU, in bf16.
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
V = 24
SETTINGS: dict[str, Any] = {
    "epochs": 2, "batch_tokens": 200, "micro_batch_tokens": 50, "learning_rate": 1e-2, "warmup_steps": 4,
    "ema_decay": 0.9, "checkpoint_seconds": 10**6, "precision": "fp32",
}  # fmt: skip


def toy_split(pairs: int, seed: int) -> EncodedSplit:
    """Return random sentences; the translation of each is itself, reversed and with 1 added to each id."""
    random = np.random.default_rng(seed)
    sources = [random.integers(4, V - 1, random.integers(2, 9)).tolist() for _ in range(pairs)]
    targets = [[i + 1 for i in reversed(source)] for source in sources]

    def side(sentences: list[list[int]]) -> EncodedSide:
        closed = [[*ids, EOS] for ids in sentences]
        return EncodedSide(np.concatenate(closed).astype(np.int32), np.cumsum([0, *map(len, closed)]))

    return EncodedSplit(side(sources), side(targets))


class Interrupted(Exception):
    pass


class StopAt(StopRequest):
    """Request a stop after a given step."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self.trainer, self.step = trainer, step

    @property
    def reason(self) -> str | None:
        return "a test" if self.trainer.position.step + 1 >= self.step else None


@dataclass(frozen=True)
class ToyValidation(Validation):
    """Computes the loss on toy sentences. A score that the test chooses replaces BLEU."""

    score: Callable[[Seq2Seq], float]

    def bleu(self, model: Seq2Seq) -> float:
        return self.score(model)


@dataclass
class Run:
    """One training in this process, with its metrics."""

    directory: Path
    settings: dict[str, Any] = field(default_factory=dict)
    stop_at: int = 10**9
    device: str = "cpu"
    network: dict[str, Any] = field(default_factory=dict)
    precision: str = ""  # no or bf16, as Accelerate names them
    steps_ahead: int | None = None  # None: as many as the trainer chooses
    bleus: list[float] = field(default_factory=lambda: [0.0] * 50)  # validation BLEU of each epoch
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def trainer(self) -> Trainer:
        torch.manual_seed(1)
        network = {"embedding_size": 16, "hidden_size": 16, "dropout": 0.1, "word_dropout": 0.1, "decoder_layers": 2}
        model = Seq2Seq(ModelSettings(**network | self.network), V, V)
        on_cpu = self.device == "cpu"
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=self.precision or ("no" if on_cpu else "bf16"))
        tokenizer = Tokenizer(SentencePieceProcessor(), SentencePieceProcessor())  # not used: no text is decoded
        settings = TrainSettings.model_validate(SETTINGS | self.settings)
        trainer = Trainer(
            settings,
            model,
            toy_split(300, 1),
            ToyValidation(
                *(toy_split(40, 2), [], [], "de", tokenizer, settings.micro_batch_tokens, accelerator),
                score=lambda model: self.bleus[trainer.position.epoch],
            ),
            accelerator,
            Checkpoints(self.directory / "checkpoints", {}, {"settings": self.settings}, self.directory / "journal"),
            StopRequest(None),
        )
        if self.steps_ahead is not None:
            trainer.steps_ahead = self.steps_ahead
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


def test_the_loss_of_the_tenth_step_is_the_golden_loss(tmp_path: Path) -> None:
    """The golden loss. Refactoring must not change it; change the number only with the model or the batch plan."""
    run = Run(tmp_path, stop_at=10)
    with pytest.raises(Interrupted):
        run.fit()
    assert run.metrics[0][1]["train/loss"] == pytest.approx(GOLDEN_LOSS, abs=2e-4)


@pytest.mark.parametrize(
    ("device", "cell", "precision", "tolerance"),
    [
        ("cpu", "lstm", "no", 1e-5),  # measured: 3e-7
        ("cpu", "gru", "bf16", 0.01),  # measured: 2e-3; not every CPU can run an LSTM in bf16
        pytest.param("cuda", "lstm", "no", 1e-3, marks=pytest.mark.gpu),
        pytest.param("cuda", "lstm", "bf16", 0.01, marks=pytest.mark.gpu),
    ],
)
def test_the_size_of_micro_batches_changes_only_rounding(
    tmp_path: Path, device: str, cell: str, precision: str, tolerance: float
) -> None:
    """Without dropout.

    `tolerance` is the distance between the final weights, relative to their distance from the initial weights.
    """
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
def test_on_a_gpu_stopping_and_resuming_changes_only_rounding(tmp_path: Path) -> None:
    """Without train.deterministic."""
    expected = Run(tmp_path / "undisturbed", device="cuda").fit()
    paused = Run(tmp_path / "paused", device="cuda").trainer()
    paused.stop_request = StopAt(paused, 13)
    with pytest.raises(Paused):
        paused.fit(lambda metrics, step: None)
    actual = Run(tmp_path / "paused", device="cuda").fit()
    ends = [parameters_to_vector(trainer.model.parameters()).detach() for trainer in (expected, actual)]
    assert (ends[0] - ends[1]).norm() < 0.01 * ends[0].norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stop_at", [10, 20])
def test_a_crashed_training_resumes_to_identical_weights(tmp_path: Path, device: str, stop_at: int) -> None:
    make_gpu_deterministic()
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


@pytest.mark.parametrize("checkpoint_seconds", [0, 10**6])
def test_results_that_are_read_one_step_later_change_only_the_step_of_a_stop(
    tmp_path: Path, checkpoint_seconds: int
) -> None:
    """A GPU computes a step while the results of the one before are read. Here a CPU does the same."""
    at_once, later = (Run(tmp_path / str(ahead), steps_ahead=ahead) for ahead in (0, 1))
    trainers = [run.trainer() for run in (at_once, later)]
    for run, trainer in zip((at_once, later), trainers, strict=True):
        trainer.settings = trainer.settings.model_copy(update={"checkpoint_seconds": checkpoint_seconds})
        trainer.fit(run.log)
    expected, actual = trainers
    assert later.metrics == at_once.metrics
    assert_same_weights(expected.best_weights, actual.best_weights, 0)
    assert replace(actual.position, seconds=0.0) == replace(expected.position, seconds=0.0)
    paused = replace(later, directory=tmp_path / "paused", metrics=[])
    trainer = paused.trainer()
    trainer.stop_request = StopAt(trainer, 13)
    with pytest.raises(Paused, match="stopped by a test after step 14 of"):
        trainer.fit(paused.log)
    assert_same_weights(expected.best_weights, paused.fit().best_weights, 0)
    assert paused.metrics == at_once.metrics


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stop_at", [1, 10, 13])
def test_a_stopped_training_resumes_to_identical_weights(tmp_path: Path, device: str, stop_at: int) -> None:
    make_gpu_deterministic()
    undisturbed = Run(tmp_path / "undisturbed", device=device)
    expected = undisturbed.fit()
    paused = Run(tmp_path / "paused", device=device)
    trainer = paused.trainer()
    trainer.stop_request = StopAt(trainer, stop_at)
    stops_after = stop_at if stop_at == trainer.steps_per_epoch else stop_at + trainer.steps_ahead
    with pytest.raises(Paused, match=rf"stopped by a test after step {stops_after} of"):
        trainer.fit(paused.log)
    resumed = Run(tmp_path / "paused", device=device)
    assert resumed.trainer().position.step == stops_after
    assert_same_weights(expected.best_weights, resumed.fit().best_weights, 0)
    assert resumed.metrics[-1] == undisturbed.metrics[-1]


@pytest.mark.parametrize("stop_at", [3, None])
def test_training_ends_after_its_last_checkpoint_is_on_the_disk(
    tmp_path: Path, stop_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: Checkpoints, *rest: Any) -> None:
        time.sleep(0.5)
        usual(self, *rest)

    usual = Checkpoints._publish
    monkeypatch.setattr(Checkpoints, "_publish", slow)
    trainer = Run(tmp_path, {"epochs": 1}).trainer()
    if stop_at:
        trainer.stop_request = StopAt(trainer, stop_at)
    with pytest.raises(Paused) if stop_at else nullcontext():
        trainer.fit(lambda metrics, step: None)
    state = trainer.checkpoints.latest()
    assert state is not None
    assert state["position"] == asdict(trainer.position)


@pytest.mark.parametrize(("stop_at", "ends_in"), [(3, 3), (None, 4), (None, 20)])
def test_a_checkpoint_that_cannot_be_written_ends_training_with_its_error(
    tmp_path: Path, stop_at: int | None, ends_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a stop and at the end too. Otherwise the next step notices it."""
    steps = []

    def fails(self: Checkpoints, step: int, *rest: Any) -> None:
        steps.append(step)
        if step >= ends_in:
            raise OSError("no space")

    monkeypatch.setattr(Checkpoints, "_publish", fails)
    trainer = Run(tmp_path).trainer()
    check = trainer.checkpoints.check

    def check_later() -> None:
        trainer.checkpoints.finish()  # by now the writing has failed
        check()

    monkeypatch.setattr(trainer.checkpoints, "check", check_later)
    if stop_at:
        trainer.stop_request = StopAt(trainer, stop_at)
    elif ends_in < 10:
        trainer.settings = trainer.settings.model_copy(update={"checkpoint_seconds": 0})
    with pytest.raises(OSError, match="no space"):
        trainer.fit(lambda metrics, step: None)
    assert steps[-1] == ends_in
    assert trainer.position.step == ends_in


@pytest.mark.slow
def test_processes_one_step_ahead_stop_and_save_after_the_same_step(tmp_path: Path) -> None:
    def train(name: str, stop_at: int) -> list[dict[str, Any]]:
        output = tmp_path / f"{name}-{stop_at}"
        output.mkdir()
        start(2, "tests.train_together", tmp_path / name, output, stop_at)
        return [json.loads((output / f"{rank}.json").read_bytes()) for rank in (0, 1)]

    first, second = train("paused", 7)
    assert first == second
    assert first["saved"] == [2, 4, 6, 8]
    assert "stopped by a test after step 8 of" in first["end"]
    resumed, undisturbed = train("paused", 0), train("undisturbed", 0)
    assert {found["end"] for found in (*resumed, *undisturbed)} == {"finished"}
    assert len({found["weights"] for found in (*resumed, *undisturbed)}) == 1


def test_max_minutes_requests_a_stop() -> None:
    assert StopRequest(None).reason is None
    assert StopRequest(60.0).reason is None
    assert StopRequest(1e-9).reason == "train.max_minutes (1e-09)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_requests_a_stop_and_a_second_ctrl_c_raises_keyboard_interrupt(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    try:
        stop_request = StopRequest(None)
        signal.raise_signal(number)
        assert stop_request.reason == number.name
        if number == signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        else:
            signal.raise_signal(number)
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


@pytest.mark.parametrize("steps_ahead", [0, 1])
def test_steps_that_are_not_finite_are_skipped_up_to_the_limit(
    tmp_path: Path, steps_ahead: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Run(tmp_path, {"max_skipped_steps": 2, "epochs": 1}, steps_ahead=steps_ahead).trainer()
    usual, seen = trainer.optimizer._loss, []

    def poisoned(batch: Batch, step: int, place: int) -> torch.Tensor:
        if place == 0:
            seen.append({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
        return usual(batch, step, place) * (float("inf") if step in (3, 5, 7) and place == 1 else 1.0)

    monkeypatch.setattr(trainer.optimizer, "_loss", poisoned)
    rows = sorted(trainer.plan(0)[3].micro_batches[1])
    with pytest.raises(UserError, match=r"loss of step 8 .*with train.max_skipped_steps \(now 2\)"):
        trainer.fit(lambda metrics, step: None)
    assert caplog.messages[0].endswith(f"its pairs in encoded/train.arrow: {', '.join(map(str, rows))}")
    learned = [0, 1, 2, 4, 6]  # before step 8, which is index 7
    assert trainer.position.tokens == sum(trainer.plan(0)[index].target_tokens for index in learned)
    assert trainer.position.skipped == 3
    assert_same_weights(seen[3], seen[4], 0)  # step 4 changed nothing
    assert_same_weights(seen[5], seen[6], 0)
    assert any((seen[4][name] != seen[5][name]).any() for name in seen[4])
    assert all(tensor.isfinite().all() for tensor in trainer.model.state_dict().values())


def test_training_learns_and_keeps_the_best_weights(tmp_path: Path) -> None:
    run = Run(tmp_path, {"epochs": 20, "learning_rate": 3e-2})
    trainer = run.fit()
    losses = [metrics["dev/loss"] for _, metrics in run.metrics if "dev/loss" in metrics]
    assert losses[-1] < 0.7 * losses[0]
    assert trainer.position.best_loss == min(losses)
    model = trainer.model
    model.load_state_dict(trainer.best_weights)
    assert trainer.validation.loss(model.eval()) == pytest.approx(min(losses), abs=1e-6)


@pytest.mark.parametrize("paused_in", [None, 2, 4], ids=lambda epoch: f"paused in {epoch}")
def test_the_weights_with_the_best_bleu_are_kept_not_the_last_and_not_those_with_the_lowest_loss(
    tmp_path: Path, paused_in: int | None
) -> None:
    """They are the averaged weights, exactly as they were validated, even after a stop and a resumption."""
    run = Run(tmp_path, {"epochs": 9, "learning_rate": 3e-2, "patience": 3}, bleus=[1.0, 7.0, 3.0, 6.0, 6.9, 50.0])
    validated: dict[int, dict[str, torch.Tensor]] = {}

    def watched() -> Trainer:
        trainer = run.trainer()
        validation = trainer.validation
        assert isinstance(validation, ToyValidation)

        def watch(model: Seq2Seq) -> float:
            assert not model.training
            validated[trainer.position.epoch] = {name: w.clone() for name, w in model.state_dict().items()}
            return validation.score(model)

        trainer.validation = replace(validation, score=watch)
        return trainer

    trainer = watched()
    if paused_in:
        trainer.stop_request = StopAt(trainer, paused_in * trainer.steps_per_epoch + 3)
        with pytest.raises(Paused):
            trainer.fit(run.log)
        trainer = watched()
    trainer.fit(run.log)
    assert (trainer.position.best_epoch, trainer.position.best_bleu, trainer.position.epoch) == (2, 7.0, 5)
    losses = [metrics["dev/loss"] for _, metrics in run.metrics if "dev/loss" in metrics]
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


def test_a_loss_that_is_not_finite_ends_training_before_the_update(tmp_path: Path) -> None:
    trainer = Run(tmp_path).trainer()
    with torch.no_grad():
        trainer.model.output.bias[5] = float("nan")
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    rows = sorted(row for rows in trainer.plan(0)[0].micro_batches for row in rows)
    with pytest.raises(UserError, match=r"loss of step 1 \(epoch 1\) is not finite.*train.learning_rate") as caught:
        trainer.fit(lambda metrics, step: None)
    assert f"the pairs of the step in encoded/train.arrow: {', '.join(map(str, rows))};" in str(caught.value)
    for name, tensor in trainer.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_the_facts_say_how_training_went(tmp_path: Path) -> None:
    facts = Run(tmp_path, {"epochs": 1}).fit().facts()
    assert (facts.epochs, facts.best_epoch, facts.precision, facts.skipped_steps) == (1, 1, "fp32", 0)
