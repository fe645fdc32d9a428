"""Versions are found, and are fetched completely and as they were registered, or not at all."""

import shutil
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.plumbing.artifacts import sha256_of
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import explain_failure, open_store, short_timeouts
from pipeline.registry.package_record import RECORD_FILE, read_record
from pipeline.registry.packaging import digests
from pipeline.registry.versions import (
    PACKAGE_TAG,
    all_versions,
    fetch,
    fetch_record,
    find_again,
    find_version,
    get_version,
    identify,
)
from tests.mlflow_server import unused_port
from tests.registered import MODEL, get, package_of


@pytest.fixture
def client(registry: Path) -> MlflowClient:
    return open_store(registry)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_a_version_is_found_with_its_aliases_or_not(client: MlflowClient) -> None:
    client.set_registered_model_alias(MODEL, "champion", "2")
    found = find_version(client, MODEL, 2)
    assert found
    assert (int(found.version), found.aliases) == (2, ["champion"])
    assert find_version(client, MODEL, 0) is None
    assert find_version(client, "no such model", 1) is None
    assert [int(version.version) for version in all_versions(client, MODEL)] == [1, 2, 3]
    assert all_versions(client, "no such model") == []


def test_a_version_is_known_again_but_not_another_with_its_number(client: MlflowClient) -> None:
    identity = identify(get(client, 1))
    again = find_again(client, MODEL, identity)
    assert again
    assert identify(again) == identity
    client.set_model_version_tag(MODEL, "1", PACKAGE_TAG, "another")  # a tag is not what it is known by
    assert find_again(client, MODEL, identity)
    client.delete_registered_model(MODEL)
    assert find_again(client, MODEL, identity) is None
    client.create_registered_model(MODEL)
    client.create_model_version(MODEL, "nothing")
    assert find_version(client, MODEL, 1)
    assert find_again(client, MODEL, identity) is None


def test_versions_are_counted_over_all_pages(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MlflowClient.search_model_versions
    monkeypatch.setattr(MlflowClient, "search_model_versions", partialmethod(real, max_results=1))
    assert [int(version.version) for version in all_versions(client, MODEL)] == [1, 2, 3]


def test_an_unknown_version_is_an_error_that_names_the_known_ones(client: MlflowClient) -> None:
    with pytest.raises(UserError, match=f"^{MODEL} has no version 9; the last are 1, 2, 3; see: make versions$"):
        get_version(client, MODEL, 9)
    with pytest.raises(UserError, match="nothing is registered there; run: make register EXP=mine$"):
        get_version(client, "no such model", 1, " EXP=mine")


def test_a_version_is_fetched_as_it_was_registered(client: MlflowClient, scratch: Path) -> None:
    package = fetch(client, MODEL, 2, scratch)
    record = read_record(package / RECORD_FILE, get(client, 2).tags[PACKAGE_TAG], "the package")
    assert {**record.files, RECORD_FILE: sha256_of(package / RECORD_FILE)}.items() <= digests(package).items()


def test_python_caches_in_the_store_are_left_out(client: MlflowClient, registry: Path, scratch: Path) -> None:
    cache = package_of(registry, client, 1) / "artifacts/code/__pycache__"
    cache.mkdir()
    (cache / "request.cpython-311.pyc").write_bytes(b"anything")
    assert not list(fetch(client, MODEL, 1, scratch).rglob("*.pyc"))


def append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("artifacts/model/weights.safetensors", append),
        ("artifacts/model/joint.model", append),
        ("artifacts/code/seq2seq/translator.py", append),
        ("model_code.py", append),
        ("MLmodel", append),
        ("requirements.txt", append),
        ("artifacts/model/weights.safetensors", Path.unlink),
        ("artifacts/code/an addition.py", Path.touch),
        ("sitecustomize.py", Path.touch),
    ],
)
def test_a_file_that_was_changed_removed_or_added_is_named(
    client: MlflowClient, registry: Path, scratch: Path, name: str, change: Callable[[Path], None]
) -> None:
    change(package_of(registry, client, 1) / name)
    with pytest.raises(UserError) as refusal:
        fetch(client, MODEL, 1, scratch)
    assert str(refusal.value).startswith(f"models:/{MODEL}/1 is not as it was registered: {name} is changed, missing")


def test_a_version_without_the_tag_is_not_fetched(client: MlflowClient, scratch: Path) -> None:
    client.delete_model_version_tag(MODEL, "1", PACKAGE_TAG)
    told = f"^version 1 of {MODEL} has no tag package_sha256: .*; register it again: make register EXP=first$"
    with pytest.raises(UserError, match=told):
        fetch(client, MODEL, 1, scratch)
    assert list(scratch.iterdir()) == []  # nothing was downloaded


@pytest.mark.parametrize("edited", ["oops", "0" * 64, ""])
def test_an_edited_digest_is_an_error(client: MlflowClient, scratch: Path, edited: str) -> None:
    client.set_model_version_tag(MODEL, "1", PACKAGE_TAG, edited)
    told = rf"^models:/{MODEL}/1 is not as it was registered: registration.json .*: make register EXP=first$"
    with pytest.raises(UserError, match=told):
        fetch(client, MODEL, 1, scratch)


def test_a_record_in_another_form_is_an_error(client: MlflowClient, registry: Path, scratch: Path) -> None:
    path = package_of(registry, client, 1) / RECORD_FILE
    for content, told in (
        ("{", "is not a record of this pipeline: : Invalid JSON"),
        ("{}", "is not a record of this pipeline: experiment: Field required"),
    ):
        path.write_text(content)
        client.set_model_version_tag(MODEL, "1", PACKAGE_TAG, sha256_of(path))
        with pytest.raises(UserError, match=f"^registration.json of models:/{MODEL}/1 {told}"):
            fetch_record(client, get(client, 1), scratch)


def test_a_package_without_a_record_is_an_error(client: MlflowClient, registry: Path, scratch: Path) -> None:
    (package_of(registry, client, 1) / RECORD_FILE).unlink()
    with pytest.raises(UserError, match=f"^models:/{MODEL}/1 is not as it was registered: it has no file registration"):
        fetch(client, MODEL, 1, scratch)


def test_missing_data_files_are_an_error(client: MlflowClient, registry: Path, scratch: Path) -> None:
    shutil.rmtree(registry / "mlartifacts")
    told = f"files of models:/{MODEL}/1 are missing: .* in {registry}/mlartifacts/.* run: make register EXP=first$"
    with pytest.raises(UserError, match=told):
        fetch(client, MODEL, 1, scratch)


def test_a_server_that_does_not_answer_is_an_error_in_one_line(scratch: Path) -> None:
    uri = f"http://me:secret@127.0.0.1:{unused_port()}"
    with (
        short_timeouts(),
        pytest.raises(
            UserError, match=r"^MLflow's store http://127\.0\.0\.1.* cannot be used: .*; start its server.*$"
        ),
        explain_failure(uri),
    ):
        fetch(MlflowClient(uri), MODEL, 1, scratch)
