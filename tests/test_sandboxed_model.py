"""A model sees what the model requires and nothing else, and says why it cannot load a model."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, cast

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.registry.limits import CHARACTERS, PIECES
from pipeline.registry.sandbox.process import Misbehaviour, SandboxedProcess
from pipeline.registry.sandbox.sandboxed_model import SandboxedModel, link_requirements, load_sandboxed


def test_a_model_sees_its_requirements_and_theirs_only(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# a comment\npydantic\nscikit-learn\n")
    link_requirements(tmp_path / "requirements.txt", tmp_path / "seen")
    script = "import sys; sys.path.insert(0, 'seen'); import pydantic, pydantic_core, sklearn, scipy"
    run = [sys.executable, "-I", "-S", "-c"]
    subprocess.run([*run, script], cwd=tmp_path, check=True)
    for other in ("torch", "sacrebleu", "pytest", "pipeline"):
        script = f"import sys; sys.path.insert(0, 'seen'); import {other}"
        failed = subprocess.run([*run, script], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert f"No module named '{other}'" in failed.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [("pydantic==1.0", "needs pydantic==1.0, but 2"), ("no-such-thing", "no-such-thing, but is not installed")],
)
def test_a_requirement_that_is_not_installed_is_an_error(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "requirements.txt").write_text(line)
    with pytest.raises(UserError, match=rf"{told}.*pip install -r requirements\.txt"):
        link_requirements(tmp_path / "requirements.txt", tmp_path / "seen")


def test_a_model_that_does_not_load_is_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("mlflow\n")
    with (
        load_sandboxed(tmp_path, "the model") as model,
        pytest.raises(UserError, match=r"the model does not load.*\n(.*\n)*.*MLmodel"),
    ):
        model.translate(["a"])
    assert not [p for p in Path("/proc").glob("[0-9]*/cwd") if _is_in(p, tmp_path)]


@dataclass
class Picky:
    """Stands in for a sandbox. It refuses a request if a sentence has one of its letters."""

    letters: str
    asked: list[list[str]] = field(default_factory=list)

    def ask(self, request: bytes, seconds: float) -> bytes:
        self.asked.append(sentences := json.loads(request)["sentences"])
        if any(letter in sentence for sentence in sentences for letter in self.letters):
            return b"null\n"
        return json.dumps([[{"text": s, "tokens": [], "source_tokens": []}] for s in sentences]).encode() + b"\n"

    def fail(self, reason: str) -> NoReturn:
        raise Misbehaviour("the model", reason)


def test_only_sentences_that_are_too_long_have_no_translation() -> None:
    sentences = ["a", "b", "x" * PIECES, "c", "d", "é" * (PIECES // 2), "e", "y" * (CHARACTERS + 1)]
    sandbox = Picky("xé")
    found, _ = SandboxedModel("the model", cast(SandboxedProcess, sandbox)).explain(sentences)
    assert [hypothesis and hypothesis.text for hypothesis in found] == ["a", "b", None, "c", "d", None, "e", None]
    assert not any("y" in sentence for asked in sandbox.asked for sentence in asked)
    assert SandboxedModel("the model", cast(SandboxedProcess, sandbox)).explain(sentences[-1:]) == ([None], 0.0)


def test_a_model_that_refuses_a_short_sentence_fails() -> None:
    model = SandboxedModel("the model", cast(SandboxedProcess, Picky("x")))
    for sentences in (["a", "x" * (PIECES - 1)], ["x"]):
        with pytest.raises(Misbehaviour, match="it refused to translate 'x"):
            model.explain(sentences)
    with pytest.raises(Misbehaviour, match="it refused to translate 'x"):
        model.translate(["x" * PIECES])


def _is_in(link: Path, directory: Path) -> bool:
    try:
        return os.readlink(link).startswith(str(directory))
    except OSError:
        return False
