"""What is exported translates as the model does, without this project."""

import itertools
import json
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.data.tokenizer import JOINT, SOURCE, TARGET, Tokenizer, train_model
from pipeline.export import graphs
from pipeline.export.folder import write_folder
from pipeline.export.graphs import write_graphs
from pipeline.export.translate import Translator as Exported
from pipeline.plumbing.artifacts import Artifact, open_artifact, publish
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ModelSettings, TokenizerSettings
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.translator import Translator, save_weights
from tests.project import Finished, Project
from tests.toy_corpus import sentence_pairs

PAIRS = sentence_pairs(200)
SENTENCES = [source for source, _ in PAIRS[:6]]
SIMPLE = {"encoder_layers": 1, "decoder_layers": 1, "input_feeding": False, "tie_embeddings": "all"}
DEEP = {"encoder_layers": 2, "decoder_layers": 3, "input_feeding": True, "first_state": "linear"}
SCORES = ("none", "dot", "general", "additive", "multihead")
# With such large weights a deep plain network is chaotic: it turns a rounding error into another translation.
NETWORKS = [
    *itertools.product(("lstm", "gru"), SCORES, (SIMPLE, DEEP)), ("gru", "concat", DEEP), ("rnn", "general", SIMPLE)
]  # fmt: skip


def publish_model(directory: Path, **kind: Any) -> Artifact:
    """A small model with random weights; its tokenizers are separate unless all embeddings are tied."""
    settings = ModelSettings.model_validate({"embedding_size": 12, "hidden_size": 16} | kind)
    sides = [[pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS]]
    corpora = {JOINT: sides[0] + sides[1]} if settings.tie_embeddings == "all" else {SOURCE: sides[0], TARGET: sides[1]}
    torch.manual_seed(1)
    with publish(directory, {}, {}) as draft:
        for size, (name, lines) in zip((340, 330), corpora.items(), strict=False):
            (draft.directory / name).write_bytes(train_model(lines, TokenizerSettings(vocabulary_size=size)))
        tokenizer = Tokenizer.load(draft.directory)
        vocabularies = (tokenizer.source.vocab_size(), tokenizer.target.vocab_size())
        weights = {name: 5 * weight for name, weight in Seq2Seq(settings, *vocabularies).state_dict().items()}
        weights["output.bias"][4 : 4 + 256] = -10.0  # no bytes, which would all read alike
        languages = {"source_language": "qaa", "target_language": "qab"}
        save_weights(draft.directory, weights, settings, vocabularies, **languages)
    return open_artifact(directory, "train")


@pytest.mark.parametrize(("cell", "attention", "kind"), NETWORKS)
def test_the_folder_translates_as_the_model_does(
    tmp_path: Path, cell: str, attention: str, kind: dict[str, Any]
) -> None:
    tying = {"tie_embeddings": "target" if cell == "lstm" else "none"}
    model = publish_model(tmp_path / "model", cell=cell, attention=attention, **tying | kind)
    translator = Translator.load(model.directory)
    (tmp_path / "export").mkdir()
    write_folder(model, translator, tmp_path / "export")
    exported = Exported(tmp_path / "export")
    exact = Translator(deepcopy(translator.model).double(), translator.tokenizer)  # untrained, so scores are close
    for beam_size, length_penalty in ((1, 1.0), (3, 2.0)):
        expected = [t.text for t in exact.translate(SENTENCES, beam_size, length_penalty)]
        assert len(set(expected)) > 1
        assert [exported.translate(text, beam_size, length_penalty) for text in SENTENCES] == expected


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Translator, Exported]:
    """A translator in float64, because the model is untrained and its scores are close, and the exported model."""
    directory = tmp_path_factory.mktemp("pair")
    model = publish_model(directory / "model", **SIMPLE)
    (directory / "export").mkdir()
    translator = Translator.load(model.directory)
    write_folder(model, translator, directory / "export")
    exact = Translator(deepcopy(translator.model).double(), translator.tokenizer)
    return exact, Exported(directory / "export")


@pytest.mark.parametrize(
    "text",
    ["", "  \t ", "🙂 \u2581 \u2028 e\u0301", "\x00\x1b[31m", "Tha\u00a0felp.", "w" * 300, "wos " * 60],
    ids=ascii,
)
def test_any_text_becomes_what_the_model_makes_of_it(pair: tuple[Translator, Exported], text: str) -> None:
    translator, exported = pair
    assert exported.translate(text) == translator.translate([text])[0].text


def test_graphs_that_say_something_else_are_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = publish_model(tmp_path / "model", **SIMPLE)
    write = graphs._write

    def write_wrong(module: nn.Module, *arguments: Any) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.01)
            write(module, *arguments)
            for parameter in module.parameters():
                parameter.div_(1.01)

    monkeypatch.setattr(graphs, "_write", write_wrong)
    with pytest.raises(UserError, match="differ from the model by .* nothing is exported"):
        write_graphs(Translator.load(model.directory).model, tmp_path)


def test_export_without_a_model_says_what_to_run(project: Project) -> None:
    run = project.make("export")
    assert run.returncode == 2
    assert run.stderr.startswith("error: build/smoke/model/manifest.json is missing; run: make train EXP=smoke\n")
    assert not (project.build / "export").exists()
    assert "make export: there is no variable TEXT" in project.make("export", "TEXT=a").stderr


@pytest.mark.slow
def test_make_export_writes_a_whole_folder_and_replaces_an_older_one(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    run = project.make("export")
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("export: wrote build/smoke/export; see build/smoke/export/README.md\n")
    assert run.stderr == ""
    folder = project.build / "export"
    files = open_artifact(folder, "export").files
    assert set(files) == {"README.md", "config.json", "decoder.onnx", "encoder.onnx", "joint.model", "translate.py"}
    (folder / "of_mine").touch()
    assert project.make("export").returncode == 0
    assert open_artifact(folder, "export").files == files
    assert not (folder / "of_mine").exists()
    assert project.told_stale() == []


@pytest.mark.slow
def test_the_folder_needs_nothing_of_this_project(finished: Finished, tmp_path: Path) -> None:
    """In an environment of its own, with three packages, it translates the test set as the model does.

    The model is hardly trained, so its scores are close, and it is compared in float64.
    """
    project = finished.copy_to(tmp_path)
    assert project.make("export").returncode == 0
    folder = Path(shutil.move(project.build / "export", tmp_path / "elsewhere"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    python = tmp_path / "fresh/bin/python"
    install = [str(python), "-m", "pip", "install", "-q", "onnxruntime", "sentencepiece", "numpy"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot install onnxruntime here: {installed.stderr.strip().splitlines()[-1]}")
    source = (project.build / "evaluation/test.source.txt").read_text(encoding="utf-8")
    run = subprocess.run(
        [python, "-I", folder / "translate.py"],
        cwd=tmp_path,
        input=source,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    model = Translator.load(project.build / "model", torch.device("cpu"))
    exact = Translator(model.model.double(), model.tokenizer)
    assert run.stdout == "".join(f"{translation.text}\n" for translation in exact.translate(source.splitlines()))
    assert json.loads((folder / "config.json").read_text())["target_language"] == "qab"
