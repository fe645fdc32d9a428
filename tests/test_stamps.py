"""Which edits of settings and code rewrite the stamp of a stage, and which do not."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.imports import imported_files
from pipeline.plumbing.params import Params
from pipeline.plumbing.stamps import code_digests
from tests.toy_project import SETTINGS, Toy


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path)
    toy.stamp()
    return toy


def test_a_stamp_holds_the_sections_of_its_stage_and_no_other(toy: Toy) -> None:
    stamp = json.loads((toy.stamps / "train.json").read_bytes())
    assert list(stamp["params"]) == ["model", "train"]
    assert stamp["params"]["train"]["epochs"] == Params.model_validate(SETTINGS).train.epochs


def test_the_code_of_a_stage_is_every_project_file_that_it_imports(toy: Toy) -> None:
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
def test_every_form_of_import_is_recognised(toy: Toy, text: str, expected: set[str]) -> None:
    toy.write("pipeline/sources/hub.py", "from .. import *\n")
    toy.write("stages/download.py", text)
    found = {file.relative_to(toy.root).as_posix() for file in imported_files(toy.root / "stages/download.py")}
    assert found - {"stages/download.py"} == {f"pipeline/{name}" for name in expected}


def test_relative_imports_are_resolved_from_the_file_that_has_them(toy: Toy) -> None:
    toy.write("pipeline/sources/hub.py", "from ..layers import layer\nfrom . import tables\nfrom .. import model\n")
    toy.write("pipeline/sources/tables.py", "")
    found = {file.name for file in imported_files(toy.root / "pipeline/sources/hub.py")}
    assert found == {"__init__.py", "hub.py", "tables.py", "layers.py", "model.py", "params.py"}


def test_a_string_that_names_a_python_file_counts_as_an_import(toy: Toy) -> None:
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
def test_comments_docstrings_and_format_rewrite_no_stamp(toy: Toy, file: str, text: str) -> None:
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
def test_the_text_of_a_message_is_not_part_of_the_code(toy: Toy, old: str, new: str, stale: list[str]) -> None:
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


def test_a_syntax_error_is_reported_with_its_line(toy: Toy) -> None:
    toy.write("pipeline/layers.py", "def layer():\n    return (\n")
    with pytest.raises(UserError, match=r"pipeline/layers\.py:2: .*never closed"):
        toy.stamp()


def test_a_damaged_stamp_is_written_again(toy: Toy) -> None:
    (toy.stamps / "train.json").write_text('{"stage": "tr', encoding="utf-8")
    toy.stamp()
    assert json.loads((toy.stamps / "train.json").read_bytes())["stage"] == "train"


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
