"""Interrupted training: exact resume, stop requests, checkpoints that are written while training goes on."""

import json
import signal
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from torch.nn.utils import parameters_to_vector

from pipeline.plumbing.errors import Paused
from pipeline.processes import make_gpu_deterministic
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.trainer import SIGNALS, StopRequest
from tests.launched import start
from tests.toy_training import Interrupted, Run, StopAt, assert_same_weights

pytestmark = pytest.mark.usefixtures("a_process_of_its_own")
# `make test-gpu` runs the same tests on a GPU, in bf16.
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


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
@pytest.mark.parametrize(("stop_at", "shards"), [(10, 1), (20, 1), (30, 6), (50, 6), (70, 6)])
def test_a_crashed_training_resumes_to_identical_weights(
    tmp_path: Path, device: str, stop_at: int, shards: int
) -> None:
    """With six shards, an epoch reads four together in 44 steps, and then one after the other in 11 steps each."""
    make_gpu_deterministic()
    undisturbed = Run(tmp_path / "undisturbed", device=device, shards=shards)
    expected = undisturbed.fit()
    interrupted = Run(tmp_path / "interrupted", stop_at=stop_at, device=device, shards=shards)
    trainer = interrupted.trainer()
    trainer.settings = trainer.settings.model_copy(update={"checkpoint_seconds": 0})  # after every step
    with pytest.raises(Interrupted):
        trainer.fit(interrupted.log)
    resumed = Run(tmp_path / "interrupted", device=device, shards=shards)
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
