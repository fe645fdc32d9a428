"""The model family: each is a small file; it trains, resumes, decodes, registers and is reviewed as the default."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from pipeline.data.tokenizer import BOS, EOS, PAD
from pipeline.plumbing.errors import Paused
from pipeline.plumbing.params import ModelSettings
from pipeline.plumbing.params_file import read_params
from pipeline.seq2seq.inference import Inference
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.search import search
from tests.project import ROOT, Project, kill_in
from tests.toy_training import Run, StopAt, assert_same_weights

EXPERIMENTS = ROOT / "experiments"
MEMBERS = (
    "no-attention", "dot", "general", "concat", "additive", "multihead", "input-feeding", "gnmt", "book",
    "scheduled-sampling", "lstm", "gru", "rnn",
)  # fmt: skip
V = 30


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def section(member: str, name: str) -> dict[str, Any]:
    """Return a section of a member's file."""
    content: dict[str, Any] = yaml.safe_load((EXPERIMENTS / f"{member}.yaml").read_bytes())
    return dict(content.get(name, {}))


def small(member: str) -> Seq2Seq:
    """Return an untrained network of a member in float64, with larger weights than usual, in evaluation mode."""
    torch.manual_seed(1)
    sizes = {"embedding_size": 6, "hidden_size": 8}
    settings = ModelSettings.model_validate(section(member, "model") | sizes)
    model = Seq2Seq(settings, V, V).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    return model


def test_a_member_is_a_file_of_a_few_settings_and_has_no_corpus(member: str) -> None:
    params = read_params([ROOT / "params.yaml", EXPERIMENTS / "smoke.yaml", EXPERIMENTS / f"{member}.yaml"])
    smoke = read_params([ROOT / "params.yaml", EXPERIMENTS / "smoke.yaml"])
    assert (params.download, params.tokenizer, params.encode) == (smoke.download, smoke.tokenizer, smoke.encode)
    assert (params.model, params.train) != (smoke.model, smoke.train) or member in ("general", "gru")


@pytest.mark.usefixtures("a_process_of_its_own")
def test_a_stopped_training_resumes_to_identical_weights(member: str, tmp_path: Path) -> None:
    network, settings = section(member, "model"), section(member, "train")
    expected = Run(tmp_path / "undisturbed", settings, network=network).fit()
    stopped = Run(tmp_path / "stopped", settings, network=network).trainer()
    stopped.stop_request = StopAt(stopped, 13)
    with pytest.raises(Paused):
        stopped.fit(lambda metrics, step: None)
    actual = Run(tmp_path / "stopped", settings, network=network).fit()
    assert_same_weights(expected.model.state_dict(), actual.model.state_dict(), 0)
    assert_same_weights(expected.best_weights, actual.best_weights, 0)


@pytest.mark.parametrize("beam_size", [1, 4])
@torch.no_grad()
def test_a_search_scores_and_attends_as_the_whole_sequence_does(member: str, beam_size: int) -> None:
    model = small(member)
    source, lengths = torch.tensor([[5, 6, 7, 8, 9, EOS], [11, 12, EOS, PAD, PAD, PAD]]), torch.tensor([6, 3])
    best = search(Inference(model), source, lengths, beam_size, 1.0, [9, 9], 1)
    for row, (found,) in enumerate(best):
        target = torch.tensor([found.ids])
        encoder_output = model.encode(source[row : row + 1, : lengths[row]], lengths[row : row + 1])
        inputs, state = F.pad(target[:, :-1], (1, 0), value=BOS), model.decoder.initial_state(encoder_output)
        features, weights, _ = model.decode(inputs, encoder_output, state)
        log_p = model.output(features).log_softmax(dim=-1).gather(2, target[:, :, None]).sum()
        assert found.log_probability == pytest.approx(float(log_p), abs=1e-4)
        attended = torch.from_numpy(found.attention)[:, : weights.shape[2]]
        torch.testing.assert_close(attended, weights[0], check_dtype=False, rtol=0, atol=1e-5)


def test_gradients_agree_with_finite_differences(member: str) -> None:
    model = small(member)
    source, lengths = torch.tensor([[5, 6, 7, EOS], [9, EOS, PAD, PAD]]), torch.tensor([4, 2])
    target = torch.tensor([[11, 12, EOS], [13, EOS, PAD]])
    real = (target != PAD).flatten().nonzero()[:, 0]
    names = list(dict(model.named_parameters()))

    def loss(*weights: torch.Tensor) -> torch.Tensor:
        named = dict(zip(names, weights, strict=True))
        found: torch.Tensor = torch.func.functional_call(model, named, (source, lengths, target, real, 0.1))
        return found

    assert torch.autograd.gradcheck(loss, [*model.parameters()], fast_mode=True)


@pytest.mark.slow
def test_a_member_that_was_killed_in_training_ends_with_the_same_weights_and_is_reviewed(
    member: str, project: Project
) -> None:
    laid = replace(project, experiment=member, data="smoke")
    run = laid.make()
    assert run.returncode == 0, run.stderr
    shutil.move(laid.build / "model", laid.build / "undisturbed")
    kill = kill_in(laid, "train")
    assert kill.planned == ["train", "evaluate", "register"]
    assert laid.make().returncode == 0
    assert laid.has_the_weights_of("undisturbed")
    translated = laid.make("-s", "translate", stdin="Tha tulp geltes tha vost mordel sunly.\n")
    assert (translated.returncode, translated.stdout.count("\n")) == (0, 1)
    review = laid.make("review")
    assert f"EXP={member} DATA=smoke" in review.stdout, review.stdout + review.stderr
