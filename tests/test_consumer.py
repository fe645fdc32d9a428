"""A consumer sees what the model requires and nothing else, and says why it cannot load a model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.registry.consumer import consume, link_requirements


def test_it_sees_what_is_required_and_what_that_requires(tmp_path: Path) -> None:
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
def test_what_is_not_installed_is_named(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "requirements.txt").write_text(line)
    with pytest.raises(UserError, match=rf"{told}.*pip install -r requirements\.txt"):
        link_requirements(tmp_path / "requirements.txt", tmp_path / "seen")


def test_a_model_that_does_not_load_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("mlflow\n")
    with (
        consume(tmp_path, "the model") as consumer,
        pytest.raises(UserError, match=r"the model does not load.*\n(.*\n)*.*MLmodel"),
    ):
        consumer.translate(["a"])
    assert not [p for p in Path("/proc").glob("[0-9]*/cwd") if _is_in(p, tmp_path)]


def _is_in(link: Path, directory: Path) -> bool:
    try:
        return os.readlink(link).startswith(str(directory))
    except OSError:
        return False
