"""The learning rate over a training and its checks, updates of the weights, and the error when memory runs out."""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.data.encoding import EncodedSide, EncodedSplit
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ModelSettings, TrainSettings
from pipeline.processes import make_gpu_deterministic
from pipeline.seq2seq.model import Seq2Seq
from pipeline.training import optimization
from pipeline.training.batching import Batch, TrainingData
from pipeline.training.checkpoint import Position
from pipeline.training.optimization import AdamW, Optimizer, check_warmup, explain_out_of_memory, schedule
from pipeline.training.plan import Step
from tests.toy_training import ToyShards


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    assert [schedule(step, 4, 12) for step in (1, 2, 4)] == [0.25, 0.5, 1.0]
    assert schedule(8, 4, 12) == pytest.approx(0.5)
    assert schedule(12, 4, 12) == pytest.approx(0.0)
    assert schedule(1, 0, 2) == pytest.approx(0.5)


def test_the_learning_rate_never_falls_in_the_warm_up_and_never_rises_after_it() -> None:
    rates = [schedule(step, 10, 100) for step in range(1, 101)]
    assert rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert schedule(1, 0, 100) == pytest.approx(1, abs=1e-3)


def test_a_warm_up_longer_than_training_is_refused() -> None:
    check_warmup(53, epochs=3, steps_per_epoch=18)
    check_warmup(0, epochs=1, steps_per_epoch=1)
    for warmup in (54, 200):
        message = (
            rf"train\.warmup_steps: got {warmup}, but training has 54 steps \(3 epochs of 18\); set it to about 5,"
        )
        with pytest.raises(UserError, match=message):
            check_warmup(warmup, epochs=3, steps_per_epoch=18)


def test_running_out_of_memory_names_the_shape_of_the_batch_and_the_setting_to_lower() -> None:
    """Allocates 4 TB, more than any machine that runs these tests has."""
    batch = Batch(torch.zeros(3, 7), torch.zeros(3), torch.zeros(3, 11), torch.zeros(9))
    with (
        pytest.raises(UserError, match=r"micro-batch of 3 pairs, 7 source and 11 target .*lower train.micro_batch_tok"),
        explain_out_of_memory(batch, 1000),
    ):
        torch.empty(10**12, dtype=torch.float32).fill_(1)
    with pytest.raises(RuntimeError, match="else"), explain_out_of_memory(batch, 1000):
        raise RuntimeError("something else")


SETTINGS = TrainSettings.model_validate({"weight_decay": 0.1, "gradient_clip": 0.5, "ema_decay": 0.3})


def optimizer(state: dict[str, Any] | None = None) -> AdamW:
    torch.manual_seed(3)
    model = Seq2Seq(ModelSettings(embedding_size=4, hidden_size=4), 9, 9)
    return AdamW(SETTINGS, model, state, torch.device("cpu"))


def update(adamw: AdamW, step: int, length: float, loss: float = 1.0) -> list[torch.Tensor]:
    """Make an update with random gradients of the given total length. Return them."""
    torch.manual_seed(step)
    gradients = [torch.randn_like(weight) for weight in adamw.weights]
    norm = torch.nn.utils.get_total_norm(gradients)
    for weight, gradient in zip(adamw.weights, gradients, strict=True):
        gradient *= length / norm
        weight.grad = gradient.clone()
    adamw.update(0.01 * step, torch.nn.utils.get_total_norm(gradients), torch.tensor(loss))
    return gradients


def test_updates_are_those_of_the_paper_in_float64() -> None:
    """arXiv 1711.05101, algorithm 2. Gradients longer than 0.5 are shortened to it, others stay."""
    adamw = optimizer()
    weights = [weight.detach().double() for weight in adamw.weights]
    averages, means, squares = ([w.clone() for w in weights], [0 * w for w in weights], [0 * w for w in weights])
    for step, length in enumerate((3.0, 0.2, 0.5, 40.0, 0.1, 1.0), start=1):
        gradients = update(adamw, step, length)
        for i, gradient in enumerate(gradients):
            clipped = gradient.double() * min(1.0, 0.5 / length)
            means[i] = 0.9 * means[i] + 0.1 * clipped
            squares[i] = 0.999 * squares[i] + 0.001 * clipped**2
            mean, square = means[i] / (1 - 0.9**step), squares[i] / (1 - 0.999**step)
            weights[i] = weights[i] - 0.01 * step * (mean / (square.sqrt() + 1e-8) + 0.1 * weights[i])
            keep = min(0.3, step / (9 + step))
            averages[i] = keep * averages[i] + (1 - keep) * weights[i]
    for found, expected in zip([*adamw.weights, *adamw.averages], [*weights, *averages], strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("length", "loss"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, -math.inf)])
def test_an_update_that_is_not_finite_changes_nothing(length: float, loss: float) -> None:
    adamw, other = optimizer(), optimizer()
    update(adamw, 1, 1.0)
    update(other, 1, 1.0)
    update(adamw, 2, length, loss)
    for step in (3, 4):
        update(adamw, step, 1.0)
        update(other, step, 1.0)
    for found, expected in zip(flat(adamw.state()), flat(other.state()), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_state_resumes_bit_by_bit() -> None:
    adamw = optimizer()
    update(adamw, 1, 1.0)
    buffer = io.BytesIO()
    torch.save(adamw.state(), buffer)
    buffer.seek(0)
    resumed = optimizer(torch.load(buffer, weights_only=True))
    for each in (adamw, resumed):
        update(each, 2, 1.0)
    for found, expected in zip(flat(resumed.state()), flat(adamw.state()), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def flat(state: dict[str, Any]) -> list[torch.Tensor]:
    weights = [*state["model"].values(), *state["averaged"].values()]
    return [*weights, *state["means"], *state["squares"], state["updates"]]


class NoBlockingCopies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raise AssertionError at a copy from one device to another that makes the processor wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default:
            assert args[0].device == result.device or kwargs.get("non_blocking"), "a blocking copy"
        if func is torch.ops.aten.copy_.default:
            assert args[0].device == args[1].device or (len(args) > 2 and args[2]), "a blocking copy"
        return result


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """Raise an error in this block if the processor waits for a result of the device.

    Without a GPU the device is "meta". Its tensors have no values, so all operations that need one raise an error.
    """
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        with NoBlockingCopies():  # type: ignore[no-untyped-call]
            yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


DEVICES = ["meta", pytest.param("cuda", marks=pytest.mark.gpu)]
MODELS: list[dict[str, Any]] = [
    {"cell": "lstm", "attention": "general"},
    {"cell": "gru", "attention": "additive", "tie_embeddings": "none"},
    {"cell": "lstm", "attention": "none", "encoder_layers": 2, "decoder_layers": 2, "tie_embeddings": "target"},
    {"cell": "gru", "attention": "dot", "input_feeding": True},
    {"cell": "lstm", "attention": "multihead"},
    {"cell": "lstm", "attention": "general", "sampling_rate": 0.5},
]


def optimizer_on(device: str, sampling_rate: float = 0.0, **model: Any) -> tuple[Optimizer, Step]:
    """Return an optimiser whose device has no values or is a GPU, and a step of two micro-batches."""
    random = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(random.integers(5, 40, 400))])
    side = EncodedSide(random.integers(4, 40, offsets[-1], dtype=np.int32), offsets)
    plain = Accelerator(cpu=device == "meta", mixed_precision="no")
    names = ("num_processes", "process_index", "prepare", "no_sync", "backward", "autocast", "is_main_process")
    accelerator: Any = SimpleNamespace(device=torch.device(device), **{name: getattr(plain, name) for name in names})
    network = Seq2Seq(ModelSettings(embedding_size=8, hidden_size=8, **model), 40, 40).to(device)
    settings = TrainSettings.model_validate({"precision": "fp32", "sampling_rate": sampling_rate})
    data = TrainingData(ToyShards([EncodedSplit(side, side)]), settings)
    return Optimizer(settings, network, data, 100, accelerator, None), next(data.steps(0, 0))


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_step_begins_without_waiting_for_the_device(
    model: dict[str, Any], device: str, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if deterministic:
        make_gpu_deterministic()
    made, step = optimizer_on(device, **model)
    position = Position()
    if device == "meta":  # its results cannot be copied
        monkeypatch.setattr(optimization._Begun, "copy", lambda *results: results)
    else:
        made.begin(step, position)  # allocates memory, loads libraries
        torch.cuda.synchronize()
    with no_waiting(device):
        for _ in range(3):
            made.begin(step, position)
    assert position.step == position.index >= 3


WAITING: dict[str, Callable[[torch.Tensor], object]] = {
    "reads a number": lambda tensor: float(tensor.sum()),
    "decides by a value": lambda tensor: bool(tensor.isfinite().all()),
    "selects by a mask": lambda tensor: tensor[tensor > 0],
    "copies to the processor": lambda tensor: tensor.cpu(),
    "copies from the processor": lambda tensor: tensor + torch.ones(3).to(tensor.device),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("waiting", WAITING)
def test_waiting_for_the_device_is_noticed(waiting: str, device: str) -> None:
    tensor = torch.ones(3, device=device)
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)), no_waiting(device):
        WAITING[waiting](tensor)
