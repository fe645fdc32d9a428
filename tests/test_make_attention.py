"""`make attention` translates a sentence as `make translate` does, and writes a picture and a page."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from pipeline.plumbing.errors import UserError
from pipeline.registry.limits import CHARACTERS, PIECES
from pipeline.seq2seq.translator import Translator
from stages.attention import attention, file_name, read_sentence
from tests.project import Finished, Project
from tests.test_attention_page import Page
from tests.test_export import DEEP, publish_model

SENTENCE = "Tha felp walpes tha lond."


def written(output: Path) -> list[str]:
    return sorted(path.name for path in output.iterdir())


def draw(home: Path, monkeypatch: pytest.MonkeyPatch, text: str = SENTENCE) -> None:
    """Run the command in this process, with the model in `home`."""
    monkeypatch.setenv("TEXT", text)
    monkeypatch.setattr(sys, "argv", ["attention", str(home / "model"), str(home / "attention")])
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **settings: None, raising=False)
    attention()


def test_the_translation_and_both_files_are_told(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    names = {suffix: f"build/smoke/attention/{file_name(SENTENCE)}.{suffix}" for suffix in ("png", "html")}
    for _ in range(2):  # the second replaces the files of the first
        run = project.make("attention", f"TEXT= {SENTENCE} ")
        assert (run.returncode, run.stderr) == (0, "")
        translation, *told = run.stdout.splitlines()
        assert told == [f"attention: wrote {names['png']}", f"attention: wrote {names['html']}"]
        assert written(project.build / "attention") == sorted(Path(name).name for name in names.values())
    assert translation + "\n" == project.make("translate", f"TEXT={SENTENCE}").stdout
    assert not list(project.build.glob("*.tmp"))
    image.imread(project.root / names["png"])
    page = Page((project.root / names["html"]).read_text(encoding="utf-8"))
    assert page.texts["h1"] == [translation]
    (expected,) = Translator.load(project.build / "model").translate([SENTENCE])
    assert expected.attention is not None
    assert np.abs(np.array(page.weights) - expected.attention).max() <= 5e-5


@pytest.mark.parametrize("score", ["dot", "general", "concat", "additive", "multihead"])
def test_a_deep_model_has_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: str) -> None:
    publish_model(tmp_path / "model", cell="gru", attention=score, **DEEP)
    draw(tmp_path, monkeypatch)
    page = Page((tmp_path / f"attention/{file_name(SENTENCE)}.html").read_text(encoding="utf-8"))
    (expected,) = Translator.load(tmp_path / "model").translate([SENTENCE])
    assert expected.attention is not None
    assert np.abs(np.array(page.weights) - expected.attention).max() <= 5e-5
    assert {found.get("lang") for found in page.attributes if "dir" in found} == {"qaa", "qab"}


@pytest.mark.parametrize(
    ("experiment", "settings", "option"),
    [("default", "params.yaml", ""), ("mine", "experiments/mine.yaml", " EXP=mine")],
)
def test_a_model_without_attention_is_an_error_that_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: str, settings: str, option: str
) -> None:
    home = tmp_path / experiment
    publish_model(home / "model", attention="none")
    with pytest.raises(UserError) as error:
        draw(home, monkeypatch)
    assert str(error.value) == (
        f"{home}/model was trained with model.attention: none, so there is no attention to show; set model.attention: "
        f"general (or another score) in {settings} and run: make train{option}"
    )
    assert not (home / "attention").exists()


def test_a_sentence_of_too_many_pieces_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_model(tmp_path / "model")
    with pytest.raises(UserError, match=rf"TEXT: got 1,025 pieces after tokenising, expected at most {PIECES}; "):
        draw(tmp_path, monkeypatch, "Ж" * PIECES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "TEXT: got none, expected one sentence; type: make attention EXP=mine TEXT="),
        ("", "TEXT: got an empty one, expected one sentence; type: make attention EXP=mine TEXT="),
        (" \t\u3000", "TEXT: got an empty one, expected one sentence; type: make attention EXP=mine TEXT="),
        ("a\nb\nc", "TEXT: got 3 lines, expected one sentence; type: make attention EXP=mine TEXT="),
        ("a\udcff", "TEXT is not UTF-8: "),
        ("a" * (CHARACTERS + 1), "TEXT: got 2,001 characters, expected at most 2,000; "),
    ],
)
def test_a_text_that_is_no_sentence_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str | None, told: str) -> None:
    if text is None:
        monkeypatch.delenv("TEXT", raising=False)
    else:
        monkeypatch.setenv("TEXT", text)
    with pytest.raises(UserError) as error:
        read_sentence("mine")
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["TEXT=Tha felp."], "error: build/smoke/model/manifest.json is missing; run: make train EXP=smoke"),
        (["TEXT=a\nb"], "error: TEXT: got 2 lines, "),
        ([], "error: TEXT: got none, "),
    ],
)
def test_an_error_is_one_line_with_status_2(project: Project, arguments: list[str], told: str) -> None:
    run = project.make("attention", *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    first, last = run.stderr.splitlines()
    assert first.startswith(told)
    assert last.startswith("make: ***")
    assert not (project.build / "attention").exists()


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "/", "a/b", "..", "~", "Größe: 한국어 🙂", "文", "x" * 500, "-rf *"]
)
def test_a_file_name_stays_in_its_directory(text: str) -> None:
    assert re.fullmatch(r"([a-z0-9][a-z0-9-]{,39}-)?[0-9a-f]{8}", file_name(text))


def test_sentences_that_begin_alike_have_other_names() -> None:
    assert file_name("The file.").startswith("the-file-")
    texts = ["The file.", "The file!", "the file.", "文", "字", "x" * 41, "x" * 42]
    assert len(set(map(file_name, texts))) == len(texts)


def test_an_error_leaves_the_files_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_model(tmp_path / "model")
    draw(tmp_path, monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "attention").iterdir()}

    def fails(*arguments: Any) -> str:
        raise OSError("no space")

    monkeypatch.setattr("stages.attention.attention_page", fails)
    with pytest.raises(OSError, match="no space"):
        draw(tmp_path, monkeypatch)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "attention").iterdir()} == before
    assert written(tmp_path) == ["attention", "model"]
