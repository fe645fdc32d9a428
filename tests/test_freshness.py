"""Which stages are stale, and the reasons that `make status` gives."""

import json
import os
from pathlib import Path

import pytest

from pipeline.plumbing.artifacts import open_artifact, publish
from pipeline.plumbing.freshness import date_as_before
from tests.manifests import rewrite_manifest
from tests.toy_project import SETTINGS, Toy


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path)
    toy.stamp()
    return toy


def test_a_change_that_is_undone_leaves_the_artifact_fresh(toy: Toy) -> None:
    toy.run()
    toy.stamp({"train": {"learning_rate": 0.5}})
    assert list(toy.stale()) == ["train"]
    toy.stamp()
    assert toy.stale() == {}
    toy.stamp({"train": {"learning_rate": 0.5}})
    assert list(toy.stale()) == ["train"]


def test_stages_that_never_ran_or_were_interrupted_are_named(toy: Toy) -> None:
    toy.run("download")
    toy.artifacts["tokenizer"].with_name("tokenizer.tmp").mkdir()
    assert toy.stale()["tokenizer"] == ["interrupted"]
    assert toy.stale()["encode"] == ["never run"]
    assert "download" not in toy.stale()


def test_a_changed_setting_is_named_with_its_old_and_new_value(toy: Toy) -> None:
    toy.run()
    toy.stamp({"train": {"learning_rate": 0.5, "seed": 9}, "download": SETTINGS["download"] | {"seed": 2}})
    assert toy.stale() == {
        "download": ["download.seed: 1 -> 2"],
        "train": ["train.learning_rate: 0.0015 -> 0.5", "train.seed: 1 -> 9"],
    }


def test_changed_added_and_removed_code_files_are_named(toy: Toy) -> None:
    toy.run()
    toy.write("pipeline/model.py", "from .norm import layer\n")
    toy.write("pipeline/norm.py", "")
    toy.stamp()
    assert toy.stale()["evaluate"] == [
        "pipeline/layers.py is no longer needed",
        "pipeline/model.py changed",
        "pipeline/norm.py is now needed",
    ]


def test_an_input_with_other_content_is_named(toy: Toy) -> None:
    toy.run()
    rewrite_manifest(toy.artifacts["tokenizer"], inputs={"corpus": "0" * 64})
    assert toy.stale() == {}
    later = (toy.artifacts["tokenizer"] / "manifest.json").stat().st_mtime_ns + 1
    os.utime(toy.artifacts["download"] / "manifest.json", ns=(later, later))
    assert toy.stale() == {"tokenizer": ["the content of corpus changed"]}


def test_an_input_that_was_made_again_with_the_same_content_makes_nothing_stale(toy: Toy) -> None:
    toy.run()
    digest = open_artifact(toy.artifacts["download"], "download").digest
    rewrite_manifest(toy.artifacts["tokenizer"], inputs={"corpus": digest})
    later = (toy.artifacts["tokenizer"] / "manifest.json").stat().st_mtime_ns + 1
    os.utime(toy.artifacts["download"] / "manifest.json", ns=(later, later))
    assert toy.stale() == {}


def test_an_artifact_with_unchanged_content_becomes_as_old_as_those_made_from_it(toy: Toy) -> None:
    """The artifact does not become older than its own inputs."""
    toy.run()
    corpus, encoded, model = (toy.artifacts[stage] for stage in ("download", "encode", "train"))
    rewrite_manifest(encoded, inputs={"corpus": open_artifact(corpus, "x").digest})
    rewrite_manifest(model, inputs={"encoded": open_artifact(encoded, "x").digest})
    times = {corpus: 5, encoded: 9, model: 7}
    for each, time in times.items():
        os.utime(each / "manifest.json", ns=(time, time))

    def dated(directory: Path, stage: str) -> int:
        inputs = [toy.artifacts["download"] / "manifest.json"] if stage != "download" else []
        date_as_before(directory, toy.stamps / f"{stage}.json", inputs)
        return (directory / "manifest.json").stat().st_mtime_ns

    assert dated(corpus, "download") == 5  # is older than its uses already
    assert dated(encoded, "encode") == 7
    assert (toy.stamps / "encode.json").stat().st_mtime_ns == 7
    os.utime(corpus / "manifest.json", ns=(8, 8))
    os.utime(encoded / "manifest.json", ns=(9, 9))
    assert dated(encoded, "encode") == 9  # the corpus is newer than the model
    assert dated(model, "train") == 7  # nothing was made from it


def test_an_artifact_keeps_its_time_if_another_was_made_from_other_content(toy: Toy) -> None:
    """A setting was changed for the tokenizer alone and restored: only encode was made from the present corpus."""
    toy.run()
    corpus = toy.artifacts["download"]
    digest = open_artifact(corpus, "download").digest
    rewrite_manifest(toy.artifacts["encode"], inputs={"corpus": digest})
    rewrite_manifest(toy.artifacts["tokenizer"], inputs={"corpus": "0" * 64})
    made = (corpus / "manifest.json").stat().st_mtime_ns
    os.utime(toy.artifacts["encode"] / "manifest.json", ns=(7, 7))
    date_as_before(corpus, toy.stamps / "download.json", [])
    assert (corpus / "manifest.json").stat().st_mtime_ns == made


def test_a_stamp_that_changed_while_its_stage_ran_keeps_its_time(toy: Toy) -> None:
    toy.run()
    corpus, stamp = toy.artifacts["download"], toy.stamps / "download.json"
    rewrite_manifest(toy.artifacts["encode"], inputs={"corpus": open_artifact(corpus, "download").digest})
    os.utime(toy.artifacts["encode"] / "manifest.json", ns=(7, 7))
    stamp.write_text(json.dumps(json.loads(stamp.read_bytes()) | {"params": {}}), encoding="utf-8")
    date_as_before(corpus, stamp, [])
    assert (corpus / "manifest.json").stat().st_mtime_ns == 7 < stamp.stat().st_mtime_ns


def test_a_change_without_a_name_is_reported_too(toy: Toy) -> None:
    toy.run()
    path = toy.stamps / "train.json"
    stamp = json.loads(path.read_bytes())
    stamp["files"] = {"download.files.splits.train": [["a.tsv", "1"], ["a.tsv", "2"]]}
    rewrite_manifest(toy.artifacts["train"], stamp=stamp)
    stamp["files"] = {"download.files.splits.train": [["a.tsv", "3"], ["a.tsv", "2"]]}
    path.write_text(json.dumps(stamp), encoding="utf-8")
    assert toy.stale()["train"] == ["its stamp changed"]


def test_a_stage_after_a_stale_one_is_stale(toy: Toy) -> None:
    toy.run()
    rewrite_manifest(toy.artifacts["evaluate"], inputs={"model": "0" * 64})
    toy.stamp({"train": {"seed": 9}})
    assert toy.stale()["evaluate"] == ["train has to run first"]


@pytest.mark.parametrize(
    "damage", ["", "{}", "[]", "null", '{"facts": {}', '{"facts": 1}', '{"checksum": "0"}', "\x00"]
)
def test_a_damaged_manifest_is_reported_with_what_to_type(toy: Toy, damage: str) -> None:
    toy.run()
    manifest = toy.artifacts["encode"] / "manifest.json"
    manifest.write_text(damage, encoding="utf-8")
    (told,) = toy.stale()["encode"]
    assert told == f"{manifest} is damaged or was edited; remove {manifest.parent} and run: make encode"
    toy.stamp({"encode": {"max_tokens": 9}})  # reads the manifest


@pytest.mark.parametrize("part", ["facts", "files", "stamp", "inputs", "made_with", "execution", "checksum"])
def test_an_edit_of_any_part_of_a_manifest_is_noticed(toy: Toy, part: str) -> None:
    toy.run()
    manifest = toy.artifacts["encode"] / "manifest.json"
    content = json.loads(manifest.read_bytes())
    content[part] = {"a": 1}
    manifest.write_text(json.dumps(content), encoding="utf-8")
    assert "damaged" in toy.stale()["encode"][0]


def test_a_file_that_differs_from_the_manifest_is_named(toy: Toy) -> None:
    toy.run()
    with publish(toy.artifacts["encode"], {}, json.loads((toy.stamps / "encode.json").read_bytes())) as draft:
        (draft.directory / "ids").write_bytes(b"1234")
    assert toy.stale() == {}
    (toy.artifacts["encode"] / "ids").write_bytes(b"1235")
    assert "encoded/ids differs from its sha256" in toy.stale()["encode"][0]
    (toy.artifacts["encode"] / "ids").unlink()
    assert "encoded/ids is missing; remove" in toy.stale()["encode"][0]


def test_a_damaged_stamp_is_named(toy: Toy) -> None:
    toy.run()
    (toy.stamps / "train.json").write_text("{", encoding="utf-8")
    assert "stamps/train.json is missing or damaged" in toy.stale()["train"][0]
