"""Owns the packaged translator: an MLflow model directory that holds its weights, its code and what it requires.

No pickle is in it, no absolute path, and nothing of the project has to be installed where it is loaded.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import Model
from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME

from ..plumbing.artifacts import Artifact, sha256_of
from ..plumbing.errors import UserError
from ..plumbing.imports import distributions, imported_files

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent
MODEL_CODE = "model_code.py"
CARD = "model_card.md"
REQUIREMENTS, EXAMPLE = "requirements.txt", "serving_input_example.json"  # MLflow writes these


def code_files() -> list[Path]:
    """The project's modules that translation needs: a request's, the translator's, and all that they import."""
    return imported_files(HERE / "request.py")


def package(directory: Path, model: Artifact, card: str, example: tuple[list[str], dict[str, Any]]) -> None:
    """Write the package of `model`, its card in it, to `directory`/package; the rest of `directory` is scratch.

    `example` is an input: sentences and the params that a request may set, with their defaults.
    """
    weights_and_tokenizer = [model.path(name) for name in model.files]
    _copy(weights_and_tokenizer, model.directory, directory / "model")
    _copy(code_files(), LIBRARY, directory / "code")
    shutil.copyfile(HERE / MODEL_CODE, directory / MODEL_CODE)
    # MLflow records paths as they are given to it: from inside the directory they are names.
    with contextlib.chdir(directory):
        mlflow.pyfunc.save_model(
            "package",
            python_model=MODEL_CODE,
            artifacts={"model": "model", "code": "code"},
            pip_requirements=requirements([*code_files(), HERE / MODEL_CODE]),
            input_example=example,
        )
    (directory / "package" / CARD).write_text(card, encoding="utf-8")
    _forget_paths(directory / "package")


def digests(directory: Path) -> dict[str, str]:
    """sha256 of every file under `directory`, by its path there."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256_of(path) for path in files}


def check_files(directory: Path, recorded: dict[str, str], name: str) -> None:
    """UserError unless the files in `directory`, where the package `name` was fetched to, are those recorded."""
    found = digests(directory)
    found.pop(REGISTERED_MODEL_META_FILE_NAME, None)  # MLflow notes there where it fetched the files from
    if differing := sorted({path for path, _ in recorded.items() ^ found.items()}):
        raise UserError(
            f"{name} is not as it was registered: {', '.join(differing)} is changed, missing or not part of it; "
            "do not use it, and find out who changed the artifact store"
        )


def requirements(files: list[Path]) -> list[str]:
    """The distributions that `files` import, pinned to the versions installed here."""
    pins = distributions(files).items()
    return [f"{name}=={version.partition('+')[0]}" for name, version in pins]  # torch's is 2.13.0+cpu


def _copy(files: list[Path], origin: Path, directory: Path) -> None:
    """Copy files to the places below `directory` that they have below `origin`."""
    for file in files:
        copy = directory / file.relative_to(origin)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _forget_paths(package: Path) -> None:
    """MLflow records where the model's code was; it only ever uses the file's name."""
    model = Model.load(package)
    model.flavors["python_function"]["model_code_path"] = MODEL_CODE
    model.save(package / "MLmodel")
