"""Load a packaged translator and translate, for MLflow. This file is logged by path, never pickled.

It imports nothing from the installed project. The modules that translation needs are in the package (see packaging.py),
and each load imports them under a new name. So two versions in one process never share code.
"""

import importlib
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class PackagedTranslator(PythonModel):
    """The model that MLflow loads."""

    def load_context(self, context: PythonModelContext) -> None:
        self.request = import_apart(Path(context.artifacts["code"]), "registry.request")
        self.translator = self.request.Translator.load(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: list[str], params: dict[str, Any] | None = None
    ) -> Sequence[Any]:  # texts or lists of dicts; MLflow warns of list[Any] and of unions
        answer: list[Any] = self.request.answer(self.translator, model_input, params or {})
        return answer


def import_apart(directory: Path, module: str) -> ModuleType:
    """Import a module from `directory`, as part of a package with a name that is used only once."""
    package = ModuleType(f"packaged_translator_{uuid.uuid4().hex}")
    package.__path__ = [str(directory.resolve())]  # resolved, because Python caches directory listings by name
    sys.modules[package.__name__] = package
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # no .pyc files in the store
    try:
        return importlib.import_module(f"{package.__name__}.{module}")
    finally:
        sys.dont_write_bytecode = writes


mlflow.models.set_model(PackagedTranslator())
