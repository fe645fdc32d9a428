"""Write the packaged translator: an MLflow model directory with its weights, its code and its requirements.

The package has no pickle and no absolute path. It loads where this project is not installed.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import Model, infer_signature
from mlflow.models.utils import _Example
from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME

from ..plumbing.artifacts import Artifact, sha256_of
from ..plumbing.errors import UserError
from ..plumbing.imports import distributions, imported_files
from .package_record import RECORD_FILE, PackageRecord

REGISTRY = Path(__file__).resolve().parent
PIPELINE = REGISTRY.parent
MODEL_CODE = "model_code.py"
CARD = "model_card.md"
REQUIREMENTS, EXAMPLE_FILE = "requirements.txt", "serving_input_example.json"  # MLflow writes these


def code_files() -> list[Path]:
    """Return the modules of the project that translation needs: the request, the translator and all their imports."""
    return imported_files(REGISTRY / "request.py")


def package(directory: Path, model: Artifact, card: str, example: tuple[list[str], dict[str, Any]]) -> None:
    """Write the package of `model`, with its card, to `directory`/package. Other files in `directory` are temporary.

    `example` is an input of the model: sentences, and the params that a request may set, with their default values.
    """
    weights_and_tokenizer = [model.path(name) for name in model.files]
    _copy(weights_and_tokenizer, model.directory, directory / "model")
    _copy(code_files(), PIPELINE, directory / "code")
    shutil.copyfile(REGISTRY / MODEL_CODE, directory / MODEL_CODE)
    # MLflow records paths as they are given to it. Inside the directory they are names only.
    with contextlib.chdir(directory):
        mlflow.pyfunc.save_model(
            "package",
            python_model=MODEL_CODE,
            artifacts={"model": "model", "code": "code"},
            pip_requirements=requirements([*code_files(), REGISTRY / MODEL_CODE]),
        )
    (directory / "package" / CARD).write_text(card, encoding="utf-8")
    _complete(directory / "package", example)


def digests(directory: Path) -> dict[str, str]:
    """Return the sha256 of every file under `directory`, keyed by its path relative to `directory`."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256_of(path) for path in files}


def check_files(directory: Path, record: PackageRecord, name: str) -> None:
    """Raise UserError unless the files of the package `name`, fetched into `directory`, are as recorded."""
    found = digests(directory)
    found.pop(RECORD_FILE, None)  # a tag of the version has its digest, see package_record.py
    found.pop(REGISTERED_MODEL_META_FILE_NAME, None)  # MLflow writes in it where the files came from
    if differing := sorted({path for path, _ in record.files.items() ^ found.items()}):
        raise UserError(
            f"{name} is not as it was registered: {', '.join(differing)} is changed, missing or not part of it; "
            "do not use it, and find out who changed the artifact store"
        )


def requirements(files: list[Path]) -> list[str]:
    """Return the distributions that `files` import, pinned to the versions installed here."""
    pins = distributions(files).items()
    return [f"{name}=={version.partition('+')[0]}" for name, version in pins]  # torch has a version such as 2.13.0+cpu


def _copy(files: list[Path], origin: Path, directory: Path) -> None:
    """Copy files from below `origin` to the same relative paths below `directory`."""
    for file in files:
        copy = directory / file.relative_to(origin)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _complete(package: Path, example: tuple[list[str], dict[str, Any]]) -> None:
    """Add the example to the package, with the params in MLflow's signature, and forget the path of the model's code.

    MLflow uses only the name of that path. If `save_model` got the example, it would load the model to try it, which
    takes seconds and finds less than the trial of the registered package.
    """
    model = Model.load(package)
    saved = _Example(example)
    saved.save(str(package))
    model.saved_input_example_info = saved.info
    model.signature.params = infer_signature(params=example[1]).params
    model.flavors["python_function"]["model_code_path"] = MODEL_CODE
    model.save(package / "MLmodel")
