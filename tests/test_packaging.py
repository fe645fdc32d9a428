"""The packaged translator: what it requires, and that it translates as the local one does, wherever it is loaded."""

import re
import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from pipeline.plumbing.tracking.journal import JOURNAL
from pipeline.plumbing.tracking.record import RECORD
from pipeline.registry.packaging import code_files
from pipeline.registry.sandbox.sandboxed_model import load_sandboxed
from pipeline.seq2seq.translator import Translator
from tests.published import SENTENCES


def test_requirements_are_the_imports_of_translation_in_exact_versions(package: Path) -> None:
    lines = (package / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    assert {line.partition("==")[0] for line in lines} == {
        "langcodes", "mlflow", "numpy", "pydantic", "safetensors", "sentencepiece", "torch",
    }  # fmt: skip


def test_the_package_translates_as_the_local_translator_does(package: Path, tiny_model: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(package, tmp_path / "elsewhere")
    local = [t.text for t in Translator.load(tiny_model).translate(SENTENCES, 2, 1.0)]
    with load_sandboxed(moved, "it") as model:
        assert model.translate(SENTENCES)[0] == local
        assert [hypothesis and hypothesis.text for hypothesis in model.explain(SENTENCES)[0]] == local


def test_a_request_sets_the_beam_and_sends_only_text(package: Path, tiny_model: Path) -> None:
    loaded = mlflow.pyfunc.load_model(str(package))
    translator = Translator.load(tiny_model)
    assert loaded.predict(SENTENCES, params={"beam_size": 7}) == [t.text for t in translator.translate(SENTENCES, 7)]
    assert loaded.predict(SENTENCES) == [t.text for t in translator.translate(SENTENCES, 2)]
    assert loaded.predict([]) == []
    with pytest.raises(MlflowException):
        loaded.predict([1, 2])
    assert not list(package.rglob("__pycache__/[!m]*"))  # MLflow itself caches model_code.py


def test_two_versions_in_one_process_each_run_their_own_code(package: Path, tmp_path: Path) -> None:
    other = shutil.copytree(package, tmp_path / "other")
    with open(other / "artifacts/code/data/tokenizer.py", "a") as code:
        code.write("decode = Tokenizer.decode_target\n")
        code.write("Tokenizer.decode_target = lambda *given: [text + '!' for text in decode(*given)]\n")
    first, second = (mlflow.pyfunc.load_model(str(path)) for path in (package, other))
    assert second.predict(SENTENCES) == [text + "!" for text in first.predict(SENTENCES)]


def test_the_package_carries_the_translator_and_nothing_of_training(package: Path) -> None:
    assert not {JOURNAL, RECORD} & {path.name for path in package.rglob("*")}
    names = {file.name for file in code_files()}
    assert {"__init__.py", "translator.py", "model.py", "search.py", "tokenizer.py", "params.py"} <= names
    assert not names & {"trainer.py", "run.py", "registration.py", "corpus.py", "params_file.py"}
