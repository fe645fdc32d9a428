"""The register stage on a tiny untrained model, with real stores: what is packaged, tried and made a version."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from pipeline.artifacts import Artifact, open_artifact
from pipeline.card import LONGEST, code_span, write_card
from pipeline.errors import UserError
from pipeline.journal import JOURNAL
from pipeline.packaging import code_files, digests
from pipeline.params import RegisterSettings
from pipeline.registry import FILES, Registration, translate_afresh
from pipeline.store import experiment_id, open_store
from pipeline.tracking import open_run
from pipeline.translator import Translator
from stages.command import StageCall
from stages.register import register
from tests.mlflow_server import Server
from tests.published import SENTENCES, publish_corpus, publish_evaluation, publish_model

PROJECT = Path(__file__).parent.parent
STAMP: dict[str, Any] = {"stage": "register", "params": {"register": {}}, "code": {}}
REQUEST: dict[str, Any] = {"sentences": SENTENCES, "params": {"beam_size": 2, "length_penalty": 1.0}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build directory as training and evaluation leave it, its name in need of quotes; tests work on copies."""
    build = tmp_path_factory.mktemp("my build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{build}/mlflow.db")
        open_store(build)
        shutil.copyfile(build / "mlflow.db", build / "empty.db")  # made once: its tables take seconds
        train(build)
    return build


def train(build: Path) -> None:
    experiment = build / "default"
    corpus = publish_corpus(experiment / "corpus")
    with open_run(build, "default", experiment, training="first", settings={"seed": 1}, corpus=corpus) as run:
        for step in range(30):
            run.log({"train/loss": 1.0 / (step + 1)}, step)
    model = publish_model(experiment / "model", corpus, run.run_id, (experiment / JOURNAL).read_text())
    publish_evaluation(experiment / "evaluation", corpus, model)


@pytest.fixture(scope="module")
def registered(trained: Path) -> Artifact:
    """What `python -m stages.register` publishes, run as Make runs it; read only."""
    directory = trained / "default"
    (directory / "stamp.json").write_text(json.dumps(STAMP))
    manifests = [directory / name / "manifest.json" for name in ("corpus", "model", "evaluation")]
    paths = [directory / "stamp.json", *manifests, directory / "registered"]
    command = [sys.executable, "-m", "stages.register", *map(str, paths)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{trained}/mlflow.db"}
    run = subprocess.run(command, cwd=PROJECT, env=environment, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("registered translator-en-de version 1 in sqlite:///")
    assert run.stderr == ""
    return open_artifact(directory / "registered", "register")


@pytest.fixture
def version(registered: Artifact, trained: Path) -> ModelVersion:
    mlflow.set_tracking_uri(f"sqlite:///{trained}/mlflow.db")
    return MlflowClient().get_model_version(registered.facts["model_name"], str(registered.facts["version"]))


@pytest.fixture
def package(registered: Artifact, trained: Path) -> Path:
    """The files of the version, where the store keeps them."""
    return trained / "mlartifacts" / "default" / "models" / str(registered.facts["model_id"]) / "artifacts"


@pytest.fixture
def registration(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registration:
    """Ready to be registered in a store of its own, which has the run and nothing else."""
    build = tmp_path / "build"
    shutil.copytree(trained / "default", build / "default", ignore=shutil.ignore_patterns("registered"))
    shutil.copyfile(trained / "empty.db", build / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{build}/mlflow.db")
    client = open_store(build)
    run_id = client.create_run(experiment_id(client, "default", build)).info.run_id
    inputs = {name: open_artifact(build / "default" / name, name) for name in ("corpus", "model", "evaluation")}
    inputs["model"].facts["run_id"] = run_id
    return Registration(client, RegisterSettings(), **inputs)


def test_facts_name_the_version_and_hold_no_path(registered: Artifact, trained: Path) -> None:
    facts = registered.facts
    assert (facts["model_name"], facts["version"], facts["store"]) == ("translator-en-de", 1, "sqlite")
    assert facts["model_uri"] == "models:/translator-en-de/1"
    assert str(trained) not in (registered.directory / "manifest.json").read_text()


def test_the_run_has_metrics_scores_manifests_and_the_evaluation(registered: Artifact, version: ModelVersion) -> None:
    client = MlflowClient()
    run = client.get_run(registered.facts["run_id"])
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["test/beam/bleu"], run.data.metrics["test/copy/chrf"]) == (12.34, 45.6)
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 30
    assert {f.path for f in client.list_artifacts(run.info.run_id, "manifests")} == {
        f"manifests/{name}.json" for name in ("corpus", "model", "evaluation")
    }
    assert "evaluation/test.beam.txt" in {f.path for f in client.list_artifacts(run.info.run_id, "evaluation")}
    assert run.outputs
    assert [output.model_id for output in run.outputs.model_outputs] == [registered.facts["model_id"]]


def test_the_version_says_what_a_reviewer_asks(registered: Artifact, version: ModelVersion, trained: Path) -> None:
    assert version.run_id == registered.facts["run_id"]
    assert version.description == registered.path("card.md").read_text()
    assert {name: version.tags[name] for name in ("test_set", "bleu", "chrf")} == {
        "test_set": "test",
        "bleu": "12.34",
        "chrf": "45.6",
    }
    for name in ("corpus", "model", "evaluation"):
        assert version.tags[name] == open_artifact(trained / "default" / name, name).digest


def test_every_file_of_the_version_is_recorded_by_its_digest(version: ModelVersion, package: Path) -> None:
    assert json.loads(version.tags[FILES]) == digests(package)


def test_no_file_is_a_pickle_or_tells_where_it_was_made(registered: Artifact, trained: Path) -> None:
    files = [path for path in (trained / "mlartifacts").rglob("*") if path.is_file()]
    assert len(files) > 15
    assert not [p for p in files if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".pyc"}]
    for place in (PROJECT, trained, Path.home(), sys.prefix, tempfile.gettempdir()):
        assert not [path for path in files if str(place).encode() in path.read_bytes()]


def test_requirements_are_what_translation_imports_in_exact_versions(package: Path) -> None:
    lines = (package / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    assert {line.partition("==")[0] for line in lines} == {
        "mlflow", "numpy", "pydantic", "safetensors", "sentencepiece", "torch",
    }  # fmt: skip


def test_it_translates_as_the_local_translator_does(package: Path, trained: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(package, tmp_path / "elsewhere")
    local = [t.text for t in Translator.load(trained / "default" / "model").translate(SENTENCES, 2, 1.0)]
    assert translate_afresh(moved, REQUEST) == local


def test_a_request_sets_the_beam_and_sends_only_text(package: Path, trained: Path) -> None:
    model = mlflow.pyfunc.load_model(str(package))
    translator = Translator.load(trained / "default" / "model")
    assert model.predict(SENTENCES, params={"beam_size": 7}) == [t.text for t in translator.translate(SENTENCES, 7)]
    assert model.predict(SENTENCES) == [t.text for t in translator.translate(SENTENCES, 2)]
    assert model.predict([]) == []
    with pytest.raises(MlflowException):
        model.predict([1, 2])
    assert not list(package.rglob("__pycache__/[!m]*"))  # MLflow itself caches model_code.py


def test_two_versions_in_one_process_each_run_their_own_code(package: Path, tmp_path: Path) -> None:
    other = shutil.copytree(package, tmp_path / "other")
    with open(other / "artifacts" / "code" / "tokenizer.py", "a") as code:
        code.write("decode = Tokenizer.decode_target\n")
        code.write("Tokenizer.decode_target = lambda *given: [text + '!' for text in decode(*given)]\n")
    first, second = (mlflow.pyfunc.load_model(str(path)) for path in (package, other))
    assert second.predict(SENTENCES) == [text + "!" for text in first.predict(SENTENCES)]


@pytest.mark.parametrize("step", ["complete_run", "log_model", "try_out", "version"])
def test_killed_after_any_step_and_run_again_it_leaves_one_model_and_one_version(
    registration: Registration, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    inputs = {name: getattr(registration, name) for name in ("corpus", "model", "evaluation")}
    output = registration.model.directory.parent / "registered"
    call = StageCall(STAMP, inputs, output, "default")
    whole = getattr(Registration, step)

    def killed(*arguments: Any) -> None:
        whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registration, step, killed)
        pytest.raises(KeyboardInterrupt, register, call)
    assert not output.exists()
    register(call)
    client, run = registration.client, registration.run
    assert len(client.search_model_versions("name = 'translator-en-de'")) == 1
    assert len(client.search_logged_models([run.info.experiment_id])) == 1
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 30
    assert len(client.get_metric_history(run.info.run_id, "test/beam/bleu")) == 1


def test_an_upload_that_was_interrupted_is_done_again(
    registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        pytest.raises(KeyboardInterrupt, registration.log_model)
    model_id = registration.log_model()
    logged = registration.client.search_logged_models([registration.run.info.experiment_id])
    assert [model.model_id for model in logged] == [model_id]


def test_a_damaged_or_different_model_does_not_become_a_version(registration: Registration) -> None:
    model_id = registration.log_model()
    examples = registration.evaluation.facts["examples"]
    examples[1]["hypothesis"] += " and more"
    with pytest.raises(UserError, match="was evaluated with .*and more"):
        registration.try_out(model_id)
    (location,) = registration.model.directory.parents[1].glob(f"mlartifacts/*/models/{model_id}/artifacts")
    with open(location / "artifacts" / "model" / "weights.safetensors", "r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\x01")
    with pytest.raises(UserError, match=r"artifacts/model/weights\.safetensors"):
        registration.try_out(model_id)
    assert not registration.client.search_model_versions("name = 'translator-en-de'")


def test_a_run_of_another_store_is_named(registration: Registration) -> None:
    registration.model.facts["run_id"] = "0" * 32
    with pytest.raises(UserError, match=r"MLflow has no run 0{32}.*MLFLOW_TRACKING_URI"):
        registration.complete_run()


def test_another_evaluation_of_the_same_model_is_another_version(registration: Registration) -> None:
    directory = registration.model.directory.parent / "again" / "evaluation"
    shutil.copytree(registration.evaluation.directory, directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["facts"]["test_sets"]["test"]["systems"]["beam"]["bleu"] = 99.0
    (directory / "manifest.json").write_text(json.dumps(manifest))
    again = Registration(
        registration.client,
        registration.settings,
        registration.corpus,
        registration.model,
        open_artifact(directory, "evaluate"),
    )
    versions = [each.version(each.log_model()) for each in (registration, again, registration)]
    assert [(int(v.version), v.tags["bleu"]) for v in versions] == [(1, "12.34"), (2, "99.0"), (1, "12.34")]


@pytest.mark.slow
def test_a_server_takes_all_of_it_and_keeps_no_path(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(trained / "empty.db", tmp_path / "mlflow.db")
    server = Server(tmp_path)
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        build = tmp_path / "build"
        train(build)
        inputs = {name: open_artifact(build / "default" / name, name) for name in ("corpus", "model", "evaluation")}
        register(StageCall(STAMP, inputs, build / "default" / "registered", "default"))
        facts = open_artifact(build / "default" / "registered", "register").facts
        assert facts["store"] == "http"
        version = MlflowClient().get_model_version(facts["model_name"], str(facts["version"]))
        assert str(version.description).startswith("Translates `en` to `de`")
        files = [path for path in (tmp_path / "mlartifacts").rglob("*") if path.is_file()]
        assert len(files) > 15
        assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]
    finally:
        server.kill()


def test_the_package_carries_the_translator_and_nothing_of_training() -> None:
    names = {file.name for file in code_files()}
    assert {"__init__.py", "translator.py", "model.py", "search.py", "tokenizer.py", "params.py"} <= names
    assert not names & {"trainer.py", "tracking.py", "registry.py", "corpus.py", "params_file.py"}


def test_foreign_text_cannot_leave_its_code_span() -> None:
    assert code_span("a | <b>`x`</b>\n# *y*") == "``a | <b>`x`</b> # *y*``"
    assert code_span("`x`") == "`` `x` ``"
    assert code_span("```") == "```` ``` ````"
    assert code_span("a\x00\u2028b") == "`a b`"
    assert code_span("x" * 200, longest=10) == "`" + "x" * 9 + "…`"
    assert code_span("") == "`  `"


def test_a_card_stays_short_and_loses_the_least_important_first(trained: Path) -> None:
    corpus, model, evaluation = (open_artifact(trained / "default" / n, n) for n in ("corpus", "model", "evaluation"))
    card = write_card(corpus, model, evaluation, "abc-dirty")
    for part in (
        "12.3 [11.0, 13.5]",
        "nrefs:1|case:mixed",
        "catalogue-5",
        "and 6 smaller",
        "abc-dirty",
        "OPEN THE FILE",
    ):
        assert part in card
    test_sets = evaluation.facts["test_sets"]
    test_sets |= {f"test_{n}": test_sets["test"] for n in range(9)}
    long = write_card(corpus, model, evaluation, None)
    assert len(long) <= LONGEST
    assert "test_8" in long
    assert "OPEN THE FILE" not in long


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", 3])
def test_a_name_that_the_registry_cannot_take_is_refused(name: Any) -> None:
    with pytest.raises(ValidationError):
        RegisterSettings(model_name=name)
