"""On a server with accounts a trainer cannot promote, and a reviewer cannot register."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow.exceptions import MlflowException

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import StageCall
from pipeline.registry.facts import RegisteredFacts
from pipeline.registry.versions import VERDICT_TAG
from pipeline.reviews.promotion import PROMOTED
from pipeline.reviews.promotion_history import CHAMPION
from stages.register import register
from tests.accounts import ADMIN, REVIEWER, TRAINER, Team
from tests.published import publish_training
from tests.stores import store

ROOT = Path(__file__).parent.parent
CANDIDATES, PRODUCTION = "translator-en-de", "production"
LENIENT = {
    "bleu_drop": {"required": False},
    "chrf_drop": {"required": False},
    "looping_outputs": {"threshold": 1.0},
    "unknown_pieces": {"threshold": 1.0},
}
Act = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def act(team: Team, tmp_path: Path) -> Act:
    """Run a registry command as one of the people, with gates that an untrained model passes."""
    overlay = {"review": {"production_model": PRODUCTION, "gates": LENIENT}}
    (tmp_path / "default.yaml").write_text(yaml.safe_dump(overlay))

    def run(name: str, command: str, **asked: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | team.environment(name) | {"PYTHONPATH": str(ROOT)} | asked
        arguments = [sys.executable, "-m", f"stages.{command}", str(ROOT / "params.yaml"), "default.yaml"]
        return subprocess.run(
            arguments, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True, timeout=300
        )

    return run


def train(team: Team, build: Path, seed: int) -> int:
    """Register a version of the candidates' model as the trainer."""
    with team.acting(TRAINER):
        publish_training(build, seed=seed)
        inputs = {name: open_artifact(build / "default" / name, name) for name in ("corpus", "model", "evaluation")}
        output = build / "default/registered"
        register(StageCall({"stage": "register", "params": {"register": {}}, "code": {}}, inputs, output, "default"))
        return RegisteredFacts.of(open_artifact(output, "register")).version


@pytest.mark.slow
def test_trainer_and_reviewer_may_each_do_only_their_part(team: Team, act: Act, tmp_path: Path) -> None:
    with team.acting(ADMIN):  # as docs/reviewing.md says
        reviews = store().create_experiment(f"{PRODUCTION} reviews")
        for model in (PRODUCTION, f"{PRODUCTION}.promotions"):
            store().create_registered_model(model)
    team.grant_experiment(REVIEWER, reviews)
    for model in (PRODUCTION, f"{PRODUCTION}.promotions"):
        team.grant_model(REVIEWER, model, "MANAGE")
    assert train(team, tmp_path / "build", seed=1) == 1

    run = act(REVIEWER, "review")
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"the page of version 1 does not show this review: {REVIEWER} may not write to {CANDIDATES}" in run.stdout
    run = act(REVIEWER, "promote", VERSION="1", REASON="passes")
    assert run.returncode == 0, run.stdout + run.stderr
    with team.acting(TRAINER):
        champion = store().get_model_version_by_alias(PRODUCTION, CHAMPION)
        assert champion.tags[VERDICT_TAG].startswith("pass against ")
        assert f" by {REVIEWER}: " in champion.tags[PROMOTED]
        store().set_model_version_tag(CANDIDATES, "1", "review", "pass")  # a tag that nobody trusts

    # The trainer cannot promote, not even with FORCE=1, cannot roll back and cannot write reviews.
    assert train(team, tmp_path / "again", seed=2) == 2
    for command, asked in (
        ("promote", {"VERSION": "2", "REASON": "mine", "FORCE": "1"}),
        ("rollback", {"REASON": "mine"}),
        ("review", {"VERSION": "2"}),
    ):
        run = act(TRAINER, command, **asked)
        assert run.returncode == 2, run.stdout + run.stderr
        assert "Traceback" not in run.stderr
        if command != "rollback":
            assert f"{TRAINER} has no permission for this" in run.stderr
    with team.acting(TRAINER):
        store().set_model_version_tag(CANDIDATES, "2", "review", "pass")
    run = act(REVIEWER, "promote", VERSION="2", REASON="it says that it passed")
    assert (run.returncode, "version 2 of translator-en-de was not reviewed" in run.stderr) == (2, True), run.stderr

    # The reviewer can: review again, promote, roll back to no champion.
    for command, asked in (
        ("review", {"VERSION": "2"}),
        ("review", {"VERSION": "2"}),
        ("promote", {"VERSION": "2", "REASON": "no worse"}),
        ("rollback", {"REASON": "no better"}),
    ):
        run = act(REVIEWER, command, **asked)
        assert run.returncode == 0, run.stdout + run.stderr

    # The reviewer cannot register candidates.
    with team.acting(REVIEWER), pytest.raises(MlflowException, match="(?i)permission denied"):
        store().create_model_version(CANDIDATES, f"models:/{PRODUCTION}/1")
    with team.acting(TRAINER):
        assert int(store().get_model_version_by_alias(PRODUCTION, CHAMPION).version) == 1
