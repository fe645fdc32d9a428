"""The register stage on a tiny untrained model, with real stores: the package, its test, and the version."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.data.facts import CorpusFacts
from pipeline.data.fingerprints import find_known
from pipeline.data.splits import read_split
from pipeline.plumbing.artifacts import Artifact, open_artifact, sha256_of
from pipeline.plumbing.command import StageCall
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import RegisterSettings
from pipeline.plumbing.tracking.record import user_name
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.facts import RegisteredFacts
from pipeline.registry.package_record import RECORD_FILE, read_record
from pipeline.registry.packaging import CARD, digests
from pipeline.registry.registration import IDENTITY, Registration, training_sentences_path
from pipeline.registry.sandbox import isolation
from pipeline.registry.versions import PACKAGE_TAG, fetch_record
from stages.register import register
from tests.manifests import rewrite_manifest
from tests.mlflow_server import Server
from tests.published import SENTENCES, publish_training

PROJECT = Path(__file__).parent.parent
STAMP: dict[str, Any] = {"stage": "register", "params": {"register": {}}, "code": {}}
REQUEST: dict[str, Any] = {"sentences": SENTENCES, "params": {"beam_size": 2, "length_penalty": 1.0}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A build directory after training and evaluation. Its name needs quotes. Tests work on copies."""
    build = tmp_path_factory.mktemp("my build")
    shutil.copyfile(empty_store, build / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{build}/mlflow.db")
        publish_training(build)
    return build


@pytest.fixture(scope="module")
def registered(trained: Path) -> Artifact:
    """The output of `python -m stages.register`, run as Make runs it. Tests do not change it."""
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
    facts = RegisteredFacts.of(registered)
    return MlflowClient().get_model_version(facts.model_name, str(facts.version))


@pytest.fixture
def package(registered: Artifact, trained: Path) -> Path:
    """The files of the version, where the store keeps them."""
    return trained / "mlartifacts" / "default" / "models" / RegisteredFacts.of(registered).model_id / "artifacts"


@pytest.fixture
def registration(trained: Path, build: Path) -> Registration:
    """A registration in a store of its own, which does not have the training yet."""
    shutil.rmtree(build / "default")
    shutil.copytree(trained / "default", build / "default", ignore=shutil.ignore_patterns("registered"))
    inputs = {name: open_artifact(build / "default" / name, name) for name in ("corpus", "model", "evaluation")}
    return Registration(open_store(build), RegisterSettings(), **inputs)


def test_the_artifact_names_the_version_and_has_no_path(registered: Artifact, trained: Path) -> None:
    facts = RegisteredFacts.of(registered)
    assert (facts.model_name, facts.version, facts.store) == ("translator-en-de", 1, "sqlite")
    assert facts.model_uri == "models:/translator-en-de/1"
    assert str(trained) not in (registered.directory / "manifest.json").read_text()


def test_the_run_has_metrics_scores_manifests_and_the_evaluation(registered: Artifact, version: ModelVersion) -> None:
    client = MlflowClient()
    run = client.get_run(RegisteredFacts.of(registered).run_id)
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["test/beam/bleu"], run.data.metrics["test/copy/chrf"]) == (12.34, 45.6)
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 30
    assert {f.path for f in client.list_artifacts(run.info.run_id, "manifests")} == {
        f"manifests/{name}.json" for name in ("corpus", "model", "evaluation")
    }
    (evaluation,) = client.list_artifacts(run.info.run_id, "evaluation")
    names = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, evaluation.path)}
    assert {"test.beam.txt", "manifest.json"} <= names
    assert run.outputs
    assert [output.model_id for output in run.outputs.model_outputs] == [RegisteredFacts.of(registered).model_id]


def test_a_version_has_six_tags_and_a_card(registered: Artifact, version: ModelVersion, trained: Path) -> None:
    assert version.run_id == RegisteredFacts.of(registered).run_id
    assert version.description == registered.path("card.md").read_text()
    corpus = open_artifact(trained / "default/corpus", "download")
    assert version.tags == {
        "verdict": "not reviewed",
        "BLEU": "12.3 [11.0, 13.5]",
        "data": f"{CorpusFacts.of(corpus).splits['train']} pairs, corpus {corpus.digest[:8]}",
        "experiment": "default",
        "commit": version.tags["commit"],
        "package_sha256": version.tags["package_sha256"],
    }
    assert len(version.tags["commit"].removesuffix("-dirty")) == 8


def test_the_record_of_the_package_names_what_led_to_it(package: Path, version: ModelVersion, trained: Path) -> None:
    record = read_record(package / RECORD_FILE, version.tags[PACKAGE_TAG], "the package")
    for name in ("corpus", "model", "evaluation"):
        assert getattr(record, name) == open_artifact(trained / "default" / name, name).digest
    assert (record.experiment, record.source_language, record.target_language) == ("default", "en", "de")
    assert record.files | {RECORD_FILE: version.tags[PACKAGE_TAG]} == digests(package)


@pytest.mark.usefixtures("version")
def test_the_logged_model_has_scores_with_their_test_set_parameters_and_a_card(registered: Artifact) -> None:
    logged = MlflowClient().get_logged_model(RegisteredFacts.of(registered).model_id)
    assert logged.metrics
    scores = {metric.key: (metric.value, metric.dataset_name) for metric in logged.metrics}
    assert scores["test/beam/bleu"] == (12.34, "en to de, test")
    assert all(metric.dataset_digest for metric in logged.metrics)
    assert "test/copy/empty" not in scores
    assert logged.params == {"seed": "1"}
    assert str(logged.tags["mlflow.note.content"]).startswith("Translates en to de: ")
    assert {key for key in logged.tags if not key.startswith("mlflow.")} == {IDENTITY, PACKAGE_TAG}


def test_the_page_of_the_model_says_how_to_decide_and_leaves_what_a_person_wrote(registration: Registration) -> None:
    registration.version(registration.log_model())
    client, name = registration.client, registration.model_name
    page = str(client.get_registered_model(name).description)
    for part in ("make review VERSION=n", "make promote", "make rollback", f"models:/{name}@champion"):
        assert part in page
    assert "champion\N{NO-BREAK SPACE}" in page  # MLflow's page puts nothing between two cells
    for text, expected in (("ours", "ours"), ("", page)):
        client.update_registered_model(name, text)
        registration.version(registration.log_model())
        assert client.get_registered_model(name).description == expected


@pytest.mark.usefixtures("version")
def test_the_run_has_a_name_a_description_an_author_and_a_source(registered: Artifact) -> None:
    run = MlflowClient().get_run(RegisteredFacts.of(registered).run_id)
    assert re.fullmatch(r"default 20\d\d-\d\d-\d\d \d\d:\d\d", str(run.info.run_name))
    assert run.data.tags["mlflow.note.content"].startswith("Training of a translator")
    experiment = MlflowClient().get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.note.content"] == "make: a run for each training"
    assert run.data.tags["mlflow.source.name"] == "make train"
    assert run.data.tags["mlflow.user"] == user_name()
    assert [key for key in run.data.tags if not key.startswith("mlflow.")] == ["attempt"]


def test_a_leak_can_be_found_without_the_corpus(version: ModelVersion, trained: Path, tmp_path: Path) -> None:
    client = MlflowClient()
    record = fetch_record(client, version, tmp_path)
    digest = record.training_sentences
    known = Path(client.download_artifacts(str(version.run_id), training_sentences_path(digest), str(tmp_path)))
    assert digest == sha256_of(known)
    sources, targets = read_split(trained / "default/corpus/train.parquet")
    asked = [sources[3].upper(), "never seen before", "nor this"], ["no", targets[3].lower(), "nein"]
    assert find_known(known, *asked) == {0: "source", 1: "target"}


def test_tags_that_were_lost_or_edited_are_set_again_but_for_the_verdict(registration: Registration) -> None:
    model_id = registration.log_model()
    version = registration.version(model_id)
    name, number = version.name, str(version.version)
    registration.client.delete_model_version_tag(name, number, PACKAGE_TAG)
    registration.client.set_model_version_tag(name, number, "data", "another")
    registration.client.set_model_version_tag(name, number, "verdict", "pass")
    again = registration.version(model_id)
    assert again.version == version.version
    found = registration.client.get_model_version(name, number)
    assert found.tags == version.tags | {"verdict": "pass"}


def test_the_package_has_a_model_card(package: Path) -> None:
    card = (package / CARD).read_text()
    for part in ("Intended use", "Limits", "12.3 [11.0, 13.5]", "licence `MIT`", "catalogue-11", "Energy"):
        assert part in card


def test_no_file_is_a_pickle_or_has_a_path_of_this_machine(registered: Artifact, trained: Path) -> None:
    files = [path for path in (trained / "mlartifacts").rglob("*") if path.is_file()]
    assert len(files) > 15
    assert not [p for p in files if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".pyc"}]
    for place in (PROJECT, trained, Path.home(), sys.prefix, tempfile.gettempdir()):
        assert not [path for path in files if str(place).encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    ["complete_run", "log_model", "try_out", "version"],
)
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


@pytest.mark.slow
def test_files_that_are_lost_are_registered_anew_once_their_version_was_deleted(registration: Registration) -> None:
    model_id = registration.log_model()
    first = registration.version(model_id)
    shutil.rmtree(registration.model.directory.parents[1] / "mlartifacts")
    assert registration.log_model() == model_id  # they may come back
    with pytest.raises(UserError, match="^the files of models:/.* are missing: .*; if they are lost, delete the ver"):
        registration.try_out(model_id)
    registration.client.delete_model_version(first.name, first.version)
    again = registration.log_model()
    assert again != model_id
    registration.try_out(again)


def test_a_damaged_or_different_model_does_not_become_a_version(registration: Registration) -> None:
    model_id = registration.log_model()
    examples = registration.evaluation.manifest.facts["examples"]
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


def test_a_run_that_was_deleted_is_named_with_what_to_do(registration: Registration) -> None:
    run_id = registration.run.info.run_id
    registration.client.delete_run(run_id)
    with pytest.raises(UserError, match=f"mlflow runs restore --run-id {run_id}"):
        replace(registration).complete_run()


def test_another_evaluation_of_the_same_model_is_another_version(registration: Registration) -> None:
    directory = registration.model.directory.parent / "again" / "evaluation"
    shutil.copytree(registration.evaluation.directory, directory)
    facts = json.loads((directory / "manifest.json").read_text())["facts"]
    facts["test_sets"]["test"]["systems"]["beam"]["bleu"] = 99.0
    rewrite_manifest(directory, facts=facts)
    again = Registration(
        registration.client,
        registration.settings,
        registration.corpus,
        registration.model,
        open_artifact(directory, "evaluate"),
    )
    versions = [each.version(each.log_model()) for each in (registration, again, registration)]
    assert [(int(v.version), v.tags["BLEU"][:4]) for v in versions] == [(1, "12.3"), (2, "99.0"), (1, "12.3")]
    for each in (registration, again):
        each.complete_run()
    kept = registration.client.list_artifacts(registration.run.info.run_id, "evaluation")
    assert len(kept) == 2  # so the older version can be reviewed, too


def test_a_repeated_training_that_came_to_the_same_model_is_the_same_version(registration: Registration) -> None:
    first = registration.version(registration.log_model())
    directory = registration.model.directory.parent
    shutil.rmtree(directory)
    publish_training(directory.parent)
    inputs = {name: open_artifact(directory / name, name) for name in ("corpus", "model", "evaluation")}
    again = Registration(registration.client, registration.settings, **inputs)
    assert again.run.info.run_id != registration.run.info.run_id
    second = again.version(again.log_model())
    assert (first.version, first.run_id) == (second.version, second.run_id)


def test_registration_warns_if_the_package_is_not_isolated(
    registration: Registration, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(isolation, "SEPARATE", ("--no-such-namespace",))
    monkeypatch.setattr(Registration, "try_out", end)
    isolation.obstacle.cache_clear()
    inputs = {name: getattr(registration, name) for name in ("corpus", "model", "evaluation")}
    with pytest.raises(KeyboardInterrupt):
        register(StageCall(STAMP, inputs, registration.model.directory.parent / "registered", "default"))
    isolation.obstacle.cache_clear()
    assert capsys.readouterr().err.startswith("not isolated: ")


@pytest.mark.slow
def test_registration_on_a_server_leaves_no_path_of_this_machine(server: Server, tmp_path: Path) -> None:
    server.start()
    build = tmp_path / "build"
    publish_training(build)
    inputs = {name: open_artifact(build / "default" / name, name) for name in ("corpus", "model", "evaluation")}
    register(StageCall(STAMP, inputs, build / "default" / "registered", "default"))
    facts = RegisteredFacts.of(open_artifact(build / "default" / "registered", "register"))
    assert facts.store == "http"
    version = MlflowClient().get_model_version(facts.model_name, str(facts.version))
    assert str(version.description).startswith("Translates en to de")
    files = [path for path in (server.directory / "mlartifacts").rglob("*") if path.is_file()]
    assert len(files) > 15
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]
