"""Load one version of a registered model, and answer requests with it until it is closed."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import quote

from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.pyfunc import load_model, scoring_server
from starlette.types import ASGIApp

from ..plumbing.errors import UserError
from ..registry.packaging import EXAMPLE_FILE
from .dynamic_batching import BatchedModel


class ServedVersion:
    """MLflow's scoring server for one version, as an ASGI application."""

    def __init__(self, name: str, version: int, package: Path, scratch: TemporaryDirectory[str] | None = None) -> None:
        """Load the package and translate its example. Raise any error of these. `close` removes `scratch`."""
        os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
        self.name, self.version = name, version
        model = load_model(str(package))
        sentences = json.loads((package / EXAMPLE_FILE).read_bytes())["inputs"]
        if len(model.predict(sentences)) != len(sentences):
            raise UserError(f"{name} version {version} does not translate its own example")
        timeout: int = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()  # type: ignore[no-untyped-call]
        self._model = BatchedModel(model, 0.8 * timeout)  # shorter than MLflow's, whose message does not say what to do
        self.app: ASGIApp = scoring_server.init(self._model)  # type: ignore[arg-type]
        schema = model.metadata.get_params_schema()  # type: ignore[no-untyped-call]
        self.defaults: dict[str, Any] = {param.name: param.default for param in schema.params} if schema else {}
        self._open, self._is_replaced, self._scratch = 0, False, scratch

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that name the model and version."""
        return [(b"x-model-name", quote(self.name, safe=" ").encode()), (b"x-model-version", b"%d" % self.version)]

    @property
    def problem(self) -> str:
        """Return a short description of the model's problem. Without a problem the text is empty."""
        return self._model.problem

    def __enter__(self) -> "ServedVersion":
        """Begin a request. Only the event loop's thread may call this."""
        self._open += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._open -= 1
        self._close_if_unused()

    def replace(self) -> None:
        """Close the version after the requests that have begun. No other request may begin."""
        self._is_replaced = True
        self._close_if_unused()

    def close(self) -> None:
        """Stop translating and remove the files."""
        self._model.close()
        if self._scratch:
            self._scratch.cleanup()

    def _close_if_unused(self) -> None:
        if self._is_replaced and not self._open:
            # In a thread: close waits for a running call, and the event loop must not wait.
            Thread(target=self.close, daemon=True).start()
