"""The trainer: golden loss, micro-batches, best weights, skipped steps, early stopping."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from pipeline.plumbing.errors import Paused, UserError
from pipeline.seq2seq.model import Seq2Seq
from pipeline.training.batching import Batch
from pipeline.training.plan import MicroBatch
from pipeline.training.trainer import Trainer
from tests.toy_training import Interrupted, Run, StopAt, ToyValidation, assert_same_weights, toy_split

pytestmark = pytest.mark.usefixtures("a_process_of_its_own")
# `make test-gpu` runs the same tests on a GPU, in bf16.
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


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


def described_pairs(trainer: Trainer, micro_batches: Sequence[MicroBatch]) -> str:
    rows = sorted(row for each in micro_batches for row in trainer.data.rows(each).tolist())
    return f"train-0 (rows {', '.join(map(str, rows))})"


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
    steps = list(trainer.data.steps(0, 0))
    described = described_pairs(trainer, steps[3].micro_batches[1:2])
    with pytest.raises(UserError, match=r"loss of step 8 .*with train.max_skipped_steps \(now 2\)"):
        trainer.fit(lambda metrics, step: None)
    assert caplog.messages[0].endswith(f"its pairs are in {described}")
    learned = [0, 1, 2, 4, 6]  # before step 8, which is index 7
    assert trainer.position.tokens == sum(steps[index].target_tokens for index in learned)
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
    described = described_pairs(trainer, next(trainer.data.steps(0, 0)).micro_batches)
    with pytest.raises(UserError, match=r"loss of step 1 \(epoch 1\) is not finite.*train.learning_rate") as caught:
        trainer.fit(lambda metrics, step: None)
    assert f"the pairs of the step are in {described};" in str(caught.value)
    for name, tensor in trainer.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_the_facts_say_how_training_went(tmp_path: Path) -> None:
    facts = Run(tmp_path, {"epochs": 1}).fit().facts()
    assert (facts.epochs, facts.best_epoch, facts.precision, facts.skipped_steps) == (1, 1, "fp32", 0)
