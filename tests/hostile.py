"""Packages of real models that run code of the test's choice, on disk and as registered versions."""

from pathlib import Path

import mlflow
from mlflow import MlflowClient

from tests.registered import package_of, record_files

# Evaluates the sentence as Python and returns the result.
PUPPET = """
import json, os, socket, sys, time
import mlflow

def tried(code):
    try:
        return str(eval(code))
    except Exception as error:
        return repr(error)

class Puppet(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str], params=None):
        return eval(model_input[0])

mlflow.models.set_model(Puppet())
"""


def save_puppet(directory: Path) -> Path:
    """Write an MLflow package with this code and nothing else."""
    code = directory / "puppet.py"
    code.write_text(PUPPET)
    mlflow.pyfunc.save_model(str(directory / "puppet"), python_model=str(code), pip_requirements=["mlflow"])
    return directory / "puppet"


def corrupt(build: Path, client: MlflowClient, version: int, code: str) -> None:
    """Append `code` to the code of a version, as if the version had been registered with it."""
    package = package_of(build, client, version)
    with open(package / "artifacts/code/registry/request.py", "a", encoding="utf-8") as file:
        file.write(f"\n\n{code}\n")
    record_files(build, client, version)
