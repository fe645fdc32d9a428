"""Owns how MLflow loads a packaged translator and asks it to translate. This file is logged by path, never pickled.

It imports nothing of the project: the modules that translation needs travel in the package (see packaging.py), and
each load imports them under a name of its own. Two versions in one process therefore never share code.
"""

import importlib
import importlib.util
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class PackagedTranslator(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        code = import_apart(Path(context.artifacts["code"]))
        translator = importlib.import_module(f"{code.__name__}.translator")
        self.translator = translator.Translator.load(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: list[str], params: dict[str, Any] | None = None
    ) -> list[str]:
        return [translation.text for translation in self.translator.translate(model_input, **(params or {}))]


def import_apart(directory: Path) -> ModuleType:
    """Import the package in `directory` under a name that no other import has or will have."""
    name = f"packaged_translator_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(
        name, directory / "__init__.py", submodule_search_locations=[str(directory)]
    )
    assert spec and spec.loader
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    return package


mlflow.models.set_model(PackagedTranslator())
