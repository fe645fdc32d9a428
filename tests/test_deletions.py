"""After any deletion or edit on MLflow's pages, each command works or names a command that works."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import StageCall
from pipeline.plumbing.errors import UserError
from pipeline.registry.registration import Registration
from pipeline.registry.versions import fetch
from pipeline.reviews import reviewer
from pipeline.reviews.promotion import Promotion
from pipeline.reviews.promotion_history import CHAMPION
from stages import promote, review, rollback, versions
from stages.register import register
from stages.registry import asked_version, open_registry
from tests.registered import MODEL, Registry, copy_store

PARAMS = Path(__file__).parent.parent / "params.yaml"
EXPERIMENT = "again"  # the one that version 3 is of
COMMANDS = ("review", "promote VERSION=3 REASON=because", "rollback REASON=because", "versions", "serve", "register")
ADVICE = re.compile(
    r"make (?:review|promote|rollback|register|versions)(?: [A-Z]+=[^\s;]+)*|\S* ?\S+ -m mlflow .*$", re.M
)
STEPS = 4  # from a refusal to a command that works, at most


def nothing_done(it: Registry) -> None:
    pass


def never_promoted(it: Registry) -> None:
    it.client.delete_registered_model_alias(MODEL, CHAMPION)
    it.client.delete_registered_model(f"{MODEL}.promotions")


def champion_deleted(it: Registry) -> None:
    it.client.delete_model_version(MODEL, "2")


def all_champions_deleted(it: Registry) -> None:
    for version in "12":
        it.client.delete_model_version(MODEL, version)


def candidate_deleted(it: Registry) -> None:
    it.client.delete_model_version(MODEL, "3")


def all_versions_deleted(it: Registry) -> None:
    for version in "123":
        it.client.delete_model_version(MODEL, version)


def model_deleted(it: Registry) -> None:
    it.client.delete_registered_model(MODEL)


def model_made_anew(it: Registry) -> None:
    it.client.delete_registered_model(MODEL)
    run(it.build, "register")


def alias_deleted(it: Registry) -> None:
    it.client.delete_registered_model_alias(MODEL, CHAMPION)


def alias_of_the_first_champion_deleted(it: Registry) -> None:
    it.client.delete_registered_model(f"{MODEL}.promotions")
    it.crown(1)
    alias_deleted(it)


def alias_moved(it: Registry) -> None:
    it.client.set_registered_model_alias(MODEL, CHAMPION, "3")


def alias_moved_and_champions_deleted(it: Registry) -> None:
    alias_moved(it)
    all_champions_deleted(it)


def record_deleted(it: Registry) -> None:
    it.client.delete_registered_model(f"{MODEL}.promotions")


def last_entry_deleted(it: Registry) -> None:
    it.client.delete_model_version(f"{MODEL}.promotions", "2")


def entry_edited(it: Registry) -> None:
    it.client.set_model_version_tag(f"{MODEL}.promotions", "1", "version", "one")


def entries_of_an_early_pipeline(it: Registry) -> None:
    for entry in "12":
        it.client.delete_model_version_tag(f"{MODEL}.promotions", entry, "created")


def tags_of_the_candidate_deleted(it: Registry) -> None:
    for tag in ("package_sha256", "data", "experiment"):
        it.client.delete_model_version_tag(MODEL, "3", tag)


def tags_of_the_champion_edited(it: Registry) -> None:
    it.client.set_model_version_tag(MODEL, "2", "package_sha256", "another")
    it.client.delete_model_version_tag(MODEL, "2", "experiment")


def run_deleted(it: Registry) -> None:
    it.client.delete_run(str(it.client.get_model_version(MODEL, "3").run_id))


def experiment_deleted(it: Registry) -> None:
    _delete_experiment(it, EXPERIMENT)


def model_and_experiment_deleted(it: Registry) -> None:
    it.client.delete_registered_model(MODEL)
    _delete_experiment(it, EXPERIMENT)


def model_and_run_deleted(it: Registry) -> None:
    run_deleted(it)
    it.client.delete_registered_model(MODEL)


def reviews_deleted(it: Registry) -> None:
    _delete_experiment(it, f"{MODEL} reviews")


def review_run_deleted(it: Registry) -> None:
    experiment = it.client.get_experiment_by_name(f"{MODEL} reviews")
    assert experiment
    for found in it.client.search_runs([experiment.experiment_id]):
        it.client.delete_run(found.info.run_id)


def another_store(it: Registry) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{it.build}/empty.db"  # the fixture restores it


def _delete_experiment(it: Registry, name: str) -> None:
    experiment = it.client.get_experiment_by_name(name)
    assert experiment
    it.client.delete_experiment(experiment.experiment_id)


STATES: list[Callable[[Registry], None]] = [
    nothing_done,
    never_promoted,
    champion_deleted,
    all_champions_deleted,
    candidate_deleted,
    all_versions_deleted,
    model_deleted,
    model_made_anew,
    alias_deleted,
    alias_of_the_first_champion_deleted,
    alias_moved,
    alias_moved_and_champions_deleted,
    record_deleted,
    last_entry_deleted,
    entry_edited,
    entries_of_an_early_pipeline,
    tags_of_the_candidate_deleted,
    tags_of_the_champion_edited,
    run_deleted,
    experiment_deleted,
    model_and_experiment_deleted,
    model_and_run_deleted,
    reviews_deleted,
    review_run_deleted,
    another_store,
]


@pytest.fixture
def place(
    versions: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Registry]:
    """Copy three versions: 1 and then 2 became champion, and 3 passed its review."""
    for name in ("MLFLOW_TRACKING_USERNAME", "FORCE", "VERSION", "REASON", "ALIAS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Promotion, "_ask_champion", lambda self: None)
    monkeypatch.setattr(Registration, "try_out", lambda self, model_id: None)

    def make(name: str) -> Registry:
        root = tmp_path / name
        (root / "build").mkdir(parents=True)
        copy_store(versions, root / "build")
        shutil.copyfile(empty_store, root / "build/empty.db")
        for experiment in ("first", "other", EXPERIMENT):
            shutil.copytree(versions / experiment, root / "build" / experiment)
            (root / f"{experiment}.yaml").write_text("")
        monkeypatch.chdir(root)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/build/mlflow.db")
        it = Registry(root / "build")
        it.crown(1, 2)
        it.keep(3, 2)
        return it

    return make


def run(build: Path, command: str) -> str | None:
    """Run a Make command through its stage, or an MLflow command. Return the reason if it was refused."""
    if "-m mlflow" in command:
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        subprocess.run(command, shell=True, check=True, env=environment, capture_output=True)
        return None
    name, *asked = command.removeprefix("make ").replace("VERSION=n", "VERSION=3").split()
    variables = dict(word.split("=", 1) for word in asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["a stage", str(PARAMS), f"{variables.pop('EXP', EXPERIMENT)}.yaml"])
        for variable, value in variables.items():
            patch.setenv(variable, value)
        try:
            STAGES[name](build)
        except UserError as error:
            return str(error)
    return None


def _register(build: Path) -> None:
    home = build / Path(sys.argv[2]).stem
    inputs = {name: open_artifact(home / name, name) for name in ("corpus", "model", "evaluation")}
    stamp: dict[str, Any] = {"stage": "register", "params": {"register": {}}, "code": {}}
    register(StageCall(stamp, inputs, home / "registered", home.name))


def _serve(build: Path) -> None:
    version = open_registry().models.resolve(CHAMPION)
    shutil.rmtree(build / "served", ignore_errors=True)
    (build / "served").mkdir()
    fetch(open_registry().client, version.name, int(version.version), build / "served")


def _review(build: Path) -> None:
    """Review up to the loading of packages, and store a passed review."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reviewer, "load_sandboxed", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            review.review()
    models = open_registry().models
    candidate, champion = models.candidate(asked_version()), models.champion(models.history.state())
    Registry(build).keep(int(candidate.version), int(champion.version) if champion else None)


STAGES: dict[str, Callable[[Path], None]] = {
    "review": _review,
    "promote": lambda _: promote.promote(),
    "rollback": lambda _: rollback.rollback(),
    "versions": lambda _: versions.versions(),
    "serve": _serve,
    "register": _register,
}


QUICK = {model_made_anew, champion_deleted, alias_deleted, alias_moved, another_store}
CASES = [
    pytest.param(state, command, marks=() if state in QUICK and command.startswith("promote") else pytest.mark.slow)
    for state in STATES
    for command in COMMANDS
]


@pytest.mark.parametrize(("state", "command"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_every_refusal_names_a_command_that_works(
    place: Callable[[str], Registry], state: Callable[[Registry], None], command: str
) -> None:
    """Run every command that a message names, in the same state, and those that its messages name in turn."""
    ways: list[list[str]] = [[command]]
    tried: set[str] = set()
    while ways:
        way = ways.pop()
        it = place(str(len(tried)))
        state(it)
        *_, told = [run(it.build, each) for each in way]
        print(state.__name__, way, told)
        tried.add(" ".join(way))
        if told is None or "has no other version to review" in told:
            continue
        assert "\n" not in told
        advised = ADVICE.findall(told)
        assert advised, f"{way}: no way out of: {told}"
        assert len(way) < STEPS, f"{way}: still refused: {told}"
        for each in advised:
            assert each != way[-1], f"{way}: what was refused is advised: {told}"
        ways += [[*way, each] for each in advised]
