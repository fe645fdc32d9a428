"""The files of a version and its run are read as they were registered; a change is refused and named."""

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
from tests.manifests import rewrite_manifest
from tests.registered import MODEL, get, package_of, rewrite_record

PARTS: dict[str, Callable[[VersionFiles], Any]] = {
    "evaluation": lambda files: files.evaluation,
    "manifests/corpus.json": lambda files: files.corpus,
    "manifests/model.json": lambda files: files.model,
    "training_sentences": lambda files: files.training_sentences,
}


@pytest.fixture
def files(registry: Path, tmp_path: Path) -> VersionFiles:
    client = open_store(registry)
    return VersionFiles(client, get(client, 2), tmp_path / "scratch" / "candidate")


@pytest.fixture
def artifacts(registry: Path, files: VersionFiles) -> Path:
    """Return the directory in which the store keeps the files of the run."""
    return registry / "mlartifacts" / "other" / str(files.version.run_id) / "artifacts"


def test_each_part_is_as_training_and_evaluation_left_it(files: VersionFiles, versions: Path) -> None:
    home = versions / "other"
    assert files.name == f"version 2 of {MODEL}"
    assert files.languages == ("en", "de")
    assert files.evaluation.digest == open_artifact(home / "evaluation", "evaluate").digest
    assert files.model.manifest == open_artifact(home / "model", "train").manifest
    assert files.corpus.manifest == open_artifact(home / "corpus", "download").manifest
    assert files.settings == {"seed": "2", "evaluate.beam_size": "2", "evaluate.length_penalty": "1.0"}
    sources, _ = read_split(home / "corpus/train.parquet")
    assert find_known(files.training_sentences, ["nobody has seen this", sources[7]], ["", ""]) == {1: "source"}
    assert (files.package / "requirements.txt").is_file()
    weights = (home / "model/weights.safetensors").stat().st_size
    assert weights < files.size_bytes < weights + 1_000_000


def test_a_version_of_an_earlier_pipeline_is_refused_with_what_to_type(files: VersionFiles) -> None:
    files.client.delete_model_version_tag(MODEL, "2", PACKAGE_TAG)
    old = replace(files, version=get(files.client, 2))
    with pytest.raises(UserError, match=r"has no tag package_sha256: .* again: make register EXP=other$"):
        _ = old.languages


@pytest.mark.parametrize("part", ["languages", "model", "corpus", "evaluation", "training_sentences", "package"])
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
        ("manifests/corpus.json", "manifests/corpus.json"),
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
    assert re.match(rf"{part}\S* of run {files.version.run_id} was changed after version 2 of {MODEL} was reg", told)
    assert "find out who changed the artifact store" in told
    assert "\n" not in told


def test_a_model_of_an_older_pipeline_is_an_error_with_what_to_type(
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
        _ = old.model


@pytest.mark.parametrize("name", ["corpus", "model"])
def test_a_manifest_that_was_changed_with_its_checksum_is_refused(
    files: VersionFiles, artifacts: Path, name: str
) -> None:
    path = artifacts / f"manifests/{name}.json"
    content = json.loads(path.read_bytes())
    del content["checksum"]
    content["facts"] |= {"splits": {"train": 9}} if name == "corpus" else {"parameters": 9}
    manifest = Manifest(**content)
    path.write_text(json.dumps(content | {"checksum": manifest.checksum}))
    with pytest.raises(UserError, match=f"^manifests/{name}.json of run .* was changed after version 2"):
        PARTS[f"manifests/{name}.json"](files)


def test_a_test_set_whose_manifest_was_changed_with_it_is_refused(files: VersionFiles, artifacts: Path) -> None:
    (path,) = artifacts.glob("evaluation/*/manifest.json")
    facts = json.loads(path.read_bytes())["facts"]
    facts["test_sets"]["test"]["sentences"] = 1
    rewrite_manifest(path.parent, facts=facts)
    with pytest.raises(UserError, match="^evaluation of run .* was changed after version 2"):
        _ = files.evaluation


@pytest.mark.parametrize(
    ("part", "file"),
    [("manifests/model.json", "manifests/model.json"), ("training_sentences", "training_sentences/*.npz")],
)
def test_a_missing_part_is_named(files: VersionFiles, artifacts: Path, part: str, file: str) -> None:
    next(artifacts.glob(file)).unlink()
    with pytest.raises(UserError, match=rf"^{part}\S* of run \w+, which made version 2 of {MODEL}, cannot be"):
        PARTS[part](files)
