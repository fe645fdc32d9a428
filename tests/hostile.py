"""Real packages whose code is what a test says, alone and as a version in the registry."""

from pathlib import Path

import mlflow
from mlflow import MlflowClient

from tests.registered import package_of, record_files

# Takes its only sentence for Python, and answers with what that is.
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
    """A package of MLflow's with that code and nothing else."""
    code = directory / "puppet.py"
    code.write_text(PUPPET)
    mlflow.pyfunc.save_model(str(directory / "puppet"), python_model=str(code), pip_requirements=["mlflow"])
    return directory / "puppet"


def corrupt(build: Path, client: MlflowClient, version: int, code: str) -> None:
    """Let a version have `code` after its own, as if it had been registered so."""
    package = package_of(build, client, version)
    with open(package / "artifacts/code/registry/request.py", "a", encoding="utf-8") as file:
        file.write(f"\n\n{code}\n")
    record_files(build, client, version)
