"""What a run holds on a version is read as it was registered, or the change is named."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.fingerprints import find_known
from pipeline.data.splits import read_split
from pipeline.plumbing.artifacts import Manifest, open_artifact
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.package_record import RECORD_FILE
from pipeline.registry.versions import PACKAGE_TAG
from pipeline.reviews.version_files import VersionFiles
from pipeline.training.facts import ModelFacts
from tests.manifests import rewrite_manifest
from tests.registered import MODEL, get, package_of, rewrite_record

PARTS: dict[str, Callable[[VersionFiles], Any]] = {
    "evaluation": lambda files: files.evaluation,
    "manifests/model.json": lambda files: files.model_facts,
    "training_sentences": lambda files: files.training_sentences,
}


@pytest.fixture
def files(registry: Path, tmp_path: Path) -> VersionFiles:
    client = open_store(registry)
    return VersionFiles(client, get(client, 2), tmp_path / "scratch" / "candidate")


@pytest.fixture
def artifacts(registry: Path, files: VersionFiles) -> Path:
    """Where the store keeps what the run has."""
    return registry / "mlartifacts" / "other" / str(files.version.run_id) / "artifacts"


def test_each_part_is_as_training_and_evaluation_left_it(files: VersionFiles, versions: Path) -> None:
    home = versions / "other"
    assert files.name == f"version 2 of {MODEL}"
    assert files.languages == ("en", "de")
    assert files.evaluation.digest == open_artifact(home / "evaluation", "evaluate").digest
    assert files.model_facts == ModelFacts.of(open_artifact(home / "model", "train"))
    sources, _ = read_split(home / "corpus/train.parquet")
    assert find_known(files.training_sentences, ["nobody has seen this", sources[7]], ["", ""]) == {1: "source"}
    assert (files.package / "requirements.txt").is_file()
    weights = (home / "model/weights.safetensors").stat().st_size
    assert weights < files.size_bytes < weights + 1_000_000


def test_a_version_of_an_earlier_pipeline_is_refused_with_what_to_type(files: VersionFiles) -> None:
    files.client.delete_model_version_tag(MODEL, "2", PACKAGE_TAG)
    old = replace(files, version=get(files.client, 2))
    with pytest.raises(UserError, match=r"earlier version of this pipeline.* again: make register EXP=other$"):
        _ = old.languages


@pytest.mark.parametrize("part", ["languages", "model_facts", "evaluation", "training_sentences", "package"])
def test_a_record_that_was_changed_in_the_store_is_refused(files: VersionFiles, registry: Path, part: str) -> None:
    path = package_of(registry, files.client, 2) / RECORD_FILE
    path.write_bytes(path.read_bytes().replace(b'"en"', b'"fr"'))
    with pytest.raises(UserError, match=rf"^models:/{MODEL}/2 is not as it was registered: registration.json does not"):
        getattr(files, part)


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("evaluation", "evaluation/*/test.reference.txt"),
        ("evaluation", "evaluation/*/manifest.json"),
        ("manifests/model.json", "manifests/model.json"),
        ("training_sentences", "training_sentences/*.npz"),
    ],
)
def test_a_part_that_was_changed_in_the_store_is_refused(
    files: VersionFiles, artifacts: Path, part: str, file: str
) -> None:
    (path,) = artifacts.glob(file)
    with open(path, "ab") as changed:
        changed.write(b"\n}")
    with pytest.raises(UserError) as refusal:
        PARTS[part](files)
    told = str(refusal.value)
    assert re.match(rf"{part}\S* of run {files.version.run_id} is not what version 2 of {MODEL} was registered", told)
    assert "find out who changed the artifact store" in told
    assert "\n" not in told


def test_a_model_of_before_its_parameters_were_counted_is_told(
    files: VersionFiles, artifacts: Path, registry: Path
) -> None:
    path = artifacts / "manifests/model.json"
    content = json.loads(path.read_bytes())
    content.pop("checksum")
    del content["facts"]["parameters"]
    manifest = Manifest(**content)
    path.write_text(json.dumps(content | {"checksum": manifest.checksum}))
    rewrite_record(registry, files.client, 2, model=manifest.digest)
    old = replace(files, version=get(files.client, 2))
    told = r"another version of this pipeline \(parameters: Field required\); .*: make train register EXP=other$"
    with pytest.raises(UserError, match=told):
        _ = old.model_facts


def test_a_test_set_whose_manifest_was_changed_with_it_is_refused(files: VersionFiles, artifacts: Path) -> None:
    (path,) = artifacts.glob("evaluation/*/manifest.json")
    facts = json.loads(path.read_bytes())["facts"]
    facts["test_sets"]["test"]["sentences"] = 1
    rewrite_manifest(path.parent, facts=facts)
    with pytest.raises(UserError, match="^evaluation of run .* is not what version 2"):
        _ = files.evaluation


@pytest.mark.parametrize(
    ("part", "file"),
    [("manifests/model.json", "manifests/model.json"), ("training_sentences", "training_sentences/*.npz")],
)
def test_a_part_that_is_gone_is_named(files: VersionFiles, artifacts: Path, part: str, file: str) -> None:
    next(artifacts.glob(file)).unlink()
    with pytest.raises(UserError, match=rf"^{part}\S* of run \w+, of which version 2 of {MODEL} was made, cannot be"):
        PARTS[part](files)
