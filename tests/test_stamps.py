"""Stamps: what makes a stage stale and what does not, and how its staleness is told."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.artifacts import open_artifact, publish, sha256_of
from pipeline.plumbing.command import TARGETS
from pipeline.plumbing.digests import Digests
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.facts import Execution, Facts
from pipeline.plumbing.freshness import date_as_before, state_of_all
from pipeline.plumbing.imports import imported_files
from pipeline.plumbing.params import Params
from pipeline.plumbing.stamps import SECTIONS, code_digests, write_stamps
from pipeline.plumbing.watch import signature
from tests.manifests import rewrite_manifest

SETTINGS = {"download": {"source": "wheels", "source_language": "en", "target_language": "de"}}


class Toy:
    """A project of six one-line stages, of which train and evaluate share `pipeline/model.py`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stamps = root / "build/default/stamps"
        self.artifacts = {stage: root / "build/default" / name for name, stage in TARGETS.items()}
        for package in ("pipeline", "pipeline/plumbing", "pipeline/sources", "stages"):
            self.write(f"{package}/__init__.py", "")
        for stage in SECTIONS:
            self.write(f"stages/{stage}.py", "x = 1\n")
        self.write("stages/train.py", "from pipeline.model import Model\n")
        self.write("stages/evaluate.py", "def f() -> None:\n    from pipeline import model\n")
        self.write(
            "pipeline/model.py",
            '"""A model."""\nfrom .layers import layer\nfrom .plumbing.params import Params\nimport torch\n',
        )
        self.write("pipeline/layers.py", "def layer():\n    '''A layer.'''\n    return 1  # one\n")
        self.write("pipeline/plumbing/params.py", "a = 1\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def stamp(self, settings: dict[str, Any] | None = None) -> None:
        params = Params.model_validate(SETTINGS | (settings or {}))
        write_stamps(self.stamps, params, self.artifacts, self.root, sources={})

    def run(self, *stages: str) -> None:
        """What Make does: publish the artifacts of stages, each newer than its stamp."""
        for stage in stages or SECTIONS:
            stamp = json.loads((self.stamps / f"{stage}.json").read_bytes())
            with publish(self.artifacts[stage], {}, stamp):
                pass

    def times(self) -> dict[str, int]:
        return {stage: (self.stamps / f"{stage}.json").stat().st_mtime_ns for stage in SECTIONS}

    def rewritten(self, settings: dict[str, Any] | None = None) -> list[str]:
        """The stages whose stamps a fresh check writes again."""
        before = self.times()
        self.stamp(settings)
        after = self.times()
        return [stage for stage in SECTIONS if before[stage] != after[stage]]

    def stale(self) -> dict[str, list[str]]:
        states = state_of_all(self.stamps, self.artifacts, sha256_of)
        return {stage: reasons or [state] for stage, (state, reasons) in states.items() if state != "fresh"}


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path)
    toy.stamp()
    return toy


def test_a_stamp_holds_the_sections_of_its_stage_and_no_other(toy: Toy) -> None:
    stamp = json.loads((toy.stamps / "train.json").read_bytes())
    assert list(stamp["params"]) == ["model", "train"]
    assert stamp["params"]["train"]["epochs"] == Params.model_validate(SETTINGS).train.epochs


def test_imports_are_followed_through_the_project_and_not_out_of_it(toy: Toy) -> None:
    for stage in ("train", "evaluate"):
        assert list(code_digests(toy.root, f"stages/{stage}.py")) == [
            "pipeline/__init__.py",
            "pipeline/layers.py",
            "pipeline/model.py",
            f"stages/{stage}.py",
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import pipeline.sources.hub", {"__init__.py", "sources/__init__.py", "sources/hub.py"}),
        ("from pipeline.sources import hub", {"__init__.py", "sources/__init__.py", "sources/hub.py"}),
        ("from pipeline.sources.hub import read as r, x", {"__init__.py", "sources/__init__.py", "sources/hub.py"}),
        ("from pipeline import layers, other", {"__init__.py", "layers.py"}),
        ("if x:\n    def f():\n        import pipeline.layers", {"__init__.py", "layers.py"}),
        ("import torch, json\nfrom numpy import layers", set()),
        ("path = 'layers.py'", set()),
    ],
)
def test_every_form_of_import_is_understood(toy: Toy, text: str, expected: set[str]) -> None:
    toy.write("pipeline/sources/hub.py", "from .. import *\n")
    toy.write("stages/download.py", text)
    found = {file.relative_to(toy.root).as_posix() for file in imported_files(toy.root / "stages/download.py")}
    assert found - {"stages/download.py"} == {f"pipeline/{name}" for name in expected}


def test_relative_imports_are_resolved_from_the_file_that_has_them(toy: Toy) -> None:
    toy.write("pipeline/sources/hub.py", "from ..layers import layer\nfrom . import tables\nfrom .. import model\n")
    toy.write("pipeline/sources/tables.py", "")
    found = {file.name for file in imported_files(toy.root / "pipeline/sources/hub.py")}
    assert found == {"__init__.py", "hub.py", "tables.py", "layers.py", "model.py", "params.py"}


def test_a_file_that_is_named_beside_counts_as_imported(toy: Toy) -> None:
    toy.write("pipeline/layers.py", "CODE = 'packed.py'\n")
    toy.write("pipeline/packed.py", "x = 1\n")
    assert toy.rewritten() == ["train", "evaluate"]
    toy.write("pipeline/packed.py", "x = 2\n")
    assert toy.rewritten() == ["train", "evaluate"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pipeline/layers.py", "# why\ndef layer():\n    '''Another docstring.'''\n    return 1\n"),
        ("pipeline/layers.py", "def layer():\n\n    return (1)\n"),
        (
            "pipeline/model.py",
            "'''Changed.'''\nfrom .layers import (layer)\nfrom .plumbing.params import Params\nimport torch\n",
        ),
        ("pipeline/plumbing/params.py", "a = 2\n"),
        ("pipeline/unrelated.py", "a = 2\n"),
        ("stages/unrelated.py", "a = 2\n"),
    ],
)
def test_what_does_not_change_the_code_rewrites_nothing(toy: Toy, file: str, text: str) -> None:
    toy.write(file, text)
    assert toy.rewritten() == []


SAYING = """
def layer(a):
    print(f"one {a} of", "two" + " three", "" if a else "nothing")
    log.warning("%s is odd", a)
    raise ValueError(f"got {a}, " f"expected {a:.1f}")
"""


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("one {a} of", "{a} out of", []),
        ("three", "four", []),
        ("nothing", "none", []),
        ("is odd", "is strange", []),
        ("got {a}", "not {a}", []),
        ("one {a}", "one {a()}", ["train", "evaluate"]),
        ("ValueError", "KeyError", ["train", "evaluate"]),
        ('"two" + ', 'open("two") + ', ["train", "evaluate"]),
        ("print(", "write(", ["train", "evaluate"]),
    ],
)
def test_the_words_of_a_message_are_not_code(toy: Toy, old: str, new: str, stale: list[str]) -> None:
    toy.write("pipeline/layers.py", SAYING)
    toy.stamp()
    assert old in SAYING
    toy.write("pipeline/layers.py", SAYING.replace(old, new))
    assert toy.rewritten() == stale


def test_changed_code_rewrites_the_stamps_of_the_stages_that_use_it(toy: Toy) -> None:
    toy.write("pipeline/layers.py", "def layer():\n    return 2\n")
    assert toy.rewritten() == ["train", "evaluate"]
    toy.write("stages/encode.py", "x = 2\n")
    assert toy.rewritten() == ["encode"]


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        ({"train": {"learning_rate": 0.5}}, "train"),
        ({"model": {"cell": "gru"}}, "train"),
        ({"encode": {"max_tokens": 9}}, "encode"),
        ({"evaluate": {"beam_size": 2}}, "evaluate"),
        ({"register": {"model_name": "x"}}, "register"),
    ],
)
def test_a_changed_setting_rewrites_the_stamp_of_its_stage(toy: Toy, settings: dict[str, Any], stage: str) -> None:
    assert toy.rewritten(settings) == [stage]
    assert toy.rewritten(settings) == []


def test_a_change_that_is_taken_back_leaves_the_artifact_fresh(toy: Toy) -> None:
    toy.run()
    toy.stamp({"train": {"learning_rate": 0.5}})
    assert list(toy.stale()) == ["train"]
    toy.stamp()
    assert toy.stale() == {}
    toy.stamp({"train": {"learning_rate": 0.5}})
    assert list(toy.stale()) == ["train"]


def test_a_syntax_error_is_told_with_its_line(toy: Toy) -> None:
    toy.write("pipeline/layers.py", "def layer():\n    return (\n")
    with pytest.raises(UserError, match=r"pipeline/layers\.py:2: .*never closed"):
        toy.stamp()


def test_a_damaged_stamp_is_written_again(toy: Toy) -> None:
    (toy.stamps / "train.json").write_text('{"stage": "tr', encoding="utf-8")
    toy.stamp()
    assert json.loads((toy.stamps / "train.json").read_bytes())["stage"] == "train"


def test_status_tells_what_never_ran_and_what_was_interrupted(toy: Toy) -> None:
    toy.run("download")
    toy.artifacts["tokenizer"].with_name("tokenizer.tmp").mkdir()
    assert toy.stale()["tokenizer"] == ["interrupted"]
    assert toy.stale()["encode"] == ["never run"]
    assert "download" not in toy.stale()


def test_status_names_the_setting_with_its_old_and_new_value(toy: Toy) -> None:
    toy.run()
    toy.stamp({"train": {"learning_rate": 0.5, "seed": 9}, "download": SETTINGS["download"] | {"seed": 2}})
    assert toy.stale() == {
        "download": ["download.seed: 1 -> 2"],
        "train": ["train.learning_rate: 0.0015 -> 0.5", "train.seed: 1 -> 9"],
    }


def test_status_names_the_file_that_changed_came_or_went(toy: Toy) -> None:
    toy.run()
    toy.write("pipeline/model.py", "from .norm import layer\n")
    toy.write("pipeline/norm.py", "")
    toy.stamp()
    assert toy.stale()["evaluate"] == [
        "pipeline/layers.py no longer needed",
        "pipeline/model.py changed",
        "pipeline/norm.py is needed now",
    ]


def test_status_names_the_input_that_was_made_again(toy: Toy) -> None:
    toy.run()
    rewrite_manifest(toy.artifacts["tokenizer"], inputs={"corpus": "0" * 64})
    assert toy.stale() == {}
    later = (toy.artifacts["tokenizer"] / "manifest.json").stat().st_mtime_ns + 1
    os.utime(toy.artifacts["download"] / "manifest.json", ns=(later, later))
    assert toy.stale() == {"tokenizer": ["corpus was made again"]}


def test_an_input_that_was_made_again_the_same_makes_nothing_stale(toy: Toy) -> None:
    toy.run()
    digest = open_artifact(toy.artifacts["download"], "download").digest
    rewrite_manifest(toy.artifacts["tokenizer"], inputs={"corpus": digest})
    later = (toy.artifacts["tokenizer"] / "manifest.json").stat().st_mtime_ns + 1
    os.utime(toy.artifacts["download"] / "manifest.json", ns=(later, later))
    assert toy.stale() == {}


def test_what_was_made_again_the_same_is_as_old_as_what_was_made_of_it(toy: Toy) -> None:
    """But never older than what it is made of, where that is new."""
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

    assert dated(corpus, "download") == 5  # older than its use already
    assert dated(encoded, "encode") == 7
    assert (toy.stamps / "encode.json").stat().st_mtime_ns == 7
    os.utime(corpus / "manifest.json", ns=(8, 8))
    os.utime(encoded / "manifest.json", ns=(9, 9))
    assert dated(encoded, "encode") == 9  # its corpus is newer than the model
    assert dated(model, "train") == 7  # nothing was made of it


def test_what_was_made_of_another_is_not_hidden_by_what_was_made_of_this(toy: Toy) -> None:
    """An edit was tried in the tokenizer alone, and taken back: encode is of the corpus as it is, tokenizer is not."""
    toy.run()
    corpus = toy.artifacts["download"]
    digest = open_artifact(corpus, "download").digest
    rewrite_manifest(toy.artifacts["encode"], inputs={"corpus": digest})
    rewrite_manifest(toy.artifacts["tokenizer"], inputs={"corpus": "0" * 64})
    made = (corpus / "manifest.json").stat().st_mtime_ns
    os.utime(toy.artifacts["encode"] / "manifest.json", ns=(7, 7))
    date_as_before(corpus, toy.stamps / "download.json", [])
    assert (corpus / "manifest.json").stat().st_mtime_ns == made


def test_a_stamp_that_changed_while_its_stage_ran_is_not_dated_with_it(toy: Toy) -> None:
    toy.run()
    corpus, stamp = toy.artifacts["download"], toy.stamps / "download.json"
    rewrite_manifest(toy.artifacts["encode"], inputs={"corpus": open_artifact(corpus, "download").digest})
    os.utime(toy.artifacts["encode"] / "manifest.json", ns=(7, 7))
    stamp.write_text(json.dumps(json.loads(stamp.read_bytes()) | {"params": {}}), encoding="utf-8")
    date_as_before(corpus, stamp, [])
    assert (corpus / "manifest.json").stat().st_mtime_ns == 7 < stamp.stat().st_mtime_ns


def test_a_change_that_has_no_name_is_told_too(toy: Toy) -> None:
    toy.run()
    path = toy.stamps / "train.json"
    stamp = json.loads(path.read_bytes())
    stamp["files"] = {"download.files.splits.train": [["a.tsv", "1"], ["a.tsv", "2"]]}
    rewrite_manifest(toy.artifacts["train"], stamp=stamp)
    stamp["files"] = {"download.files.splits.train": [["a.tsv", "3"], ["a.tsv", "2"]]}
    path.write_text(json.dumps(stamp), encoding="utf-8")
    assert toy.stale()["train"] == ["its stamp changed"]


@pytest.mark.parametrize(
    ("code", "digest"),
    [
        ("x = 1\n", "da0eec318d72d7cf"),
        ("def f(a: int = 2) -> str:\n    return f'{a:>{a}} {a!r} \U0001fa77' 'b'\n", "d20bead140ecf622"),
    ],
)
def test_a_digest_of_code_is_the_same_in_every_python(toy: Toy, code: str, digest: str) -> None:
    toy.write("stages/encode.py", code)
    assert code_digests(toy.root, "stages/encode.py")["stages/encode.py"][:16] == digest


def test_a_stage_after_a_stale_one_is_stale(toy: Toy) -> None:
    toy.run()
    rewrite_manifest(toy.artifacts["evaluate"], inputs={"model": "0" * 64})
    toy.stamp({"train": {"seed": 9}})
    assert toy.stale()["evaluate"] == ["after train"]


def test_what_changes_while_a_stage_runs_is_newer_than_its_artifact(tmp_path: Path) -> None:
    prerequisite = tmp_path / "stamp.json"
    prerequisite.touch()
    started = prerequisite.stat().st_mtime_ns
    with publish(tmp_path / "model", {}, {}, started):
        os.utime(prerequisite, ns=(started + 1, started + 1))
    assert (tmp_path / "model/manifest.json").stat().st_mtime_ns < prerequisite.stat().st_mtime_ns


@pytest.mark.parametrize(
    "damage", ["", "{}", "[]", "null", '{"facts": {}', '{"facts": 1}', '{"checksum": "0"}', "\x00"]
)
def test_a_damaged_manifest_is_told_with_what_to_type(toy: Toy, damage: str) -> None:
    toy.run()
    manifest = toy.artifacts["encode"] / "manifest.json"
    manifest.write_text(damage, encoding="utf-8")
    (told,) = toy.stale()["encode"]
    assert told == f"{manifest} is damaged (not as it was written); remove {manifest.parent} and run: make encode"
    toy.stamp({"encode": {"max_tokens": 9}})  # compares with the manifest


@pytest.mark.parametrize("part", ["facts", "files", "stamp", "inputs", "made_with", "execution", "checksum"])
def test_no_part_of_a_manifest_can_be_changed_unnoticed(toy: Toy, part: str) -> None:
    toy.run()
    manifest = toy.artifacts["encode"] / "manifest.json"
    content = json.loads(manifest.read_bytes())
    content[part] = {"a": 1}
    manifest.write_text(json.dumps(content), encoding="utf-8")
    assert "damaged" in toy.stale()["encode"][0]


def test_a_file_that_differs_from_the_manifest_is_told(toy: Toy) -> None:
    toy.run()
    with publish(toy.artifacts["encode"], {}, json.loads((toy.stamps / "encode.json").read_bytes())) as draft:
        (draft.directory / "ids").write_bytes(b"1234")
    assert toy.stale() == {}
    (toy.artifacts["encode"] / "ids").write_bytes(b"1235")
    assert "encoded/ids differs from its sha256" in toy.stale()["encode"][0]
    (toy.artifacts["encode"] / "ids").unlink()
    assert "encoded/ids is missing; remove" in toy.stale()["encode"][0]


def test_a_damaged_stamp_is_told(toy: Toy) -> None:
    toy.run()
    (toy.stamps / "train.json").write_text("{", encoding="utf-8")
    assert "stamps/train.json is missing or damaged" in toy.stale()["train"][0]


class ToyFacts(Facts):
    pairs: int


class ToyExecution(Execution):
    seconds: float


def test_a_digest_is_of_content_and_not_of_how_it_came_to_be(tmp_path: Path) -> None:
    digests = []
    for name, seconds, content in (("a", 1.0, "x"), ("b", 2.0, "x"), ("c", 1.0, "y")):
        with publish(tmp_path / name, {}, {"params": {"name": name}}) as draft:
            draft.facts = ToyFacts(pairs=3)
            draft.execution = ToyExecution(seconds=seconds)
            draft.execution_files.add("run.json")
            draft.made_with["python"] = name
            (draft.directory / "run.json").write_text(name, encoding="utf-8")
            (draft.directory / "weights").write_text(content, encoding="utf-8")
        artifact = open_artifact(tmp_path / name, "train")
        assert artifact.path("run.json").read_text() == name
        digests.append(artifact.digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file, memory = tmp_path / "data", tmp_path / "memory.json"
    file.write_bytes(b"1")
    first = Digests(memory)
    digest = first.sha256(file)
    assert first.files[str(file)]["signature"] is None  # written too shortly before it was read
    first.files[str(file)] = {"signature": signature(str(file)), "sha256": "remembered"}
    first.save()
    assert Digests(memory).sha256(file) == "remembered"
    times = file.stat()
    file.write_bytes(b"2")  # in place, with the same size and time of content
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Digests(memory).sha256(file) == hashlib.sha256(b"2").hexdigest()
    for damage in ("", "[]", '{"files": []}', f'{{"files": {{"{file}": 1}}}}'):
        memory.write_text(damage, encoding="utf-8")
        assert Digests(memory).sha256(file) != digest
