"""One version of a registered model, loaded: it answers requests until it is closed, and tells which it is."""

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
        """Load the package and try it; whatever is wrong with it is raised here. `close` removes `scratch`."""
        os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
        self.name, self.version = name, version
        model = load_model(str(package))
        sentences = json.loads((package / EXAMPLE_FILE).read_bytes())["inputs"]
        if len(model.predict(sentences)) != len(sentences):
            raise UserError(f"{name} version {version} does not translate its own example")
        timeout: int = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()  # type: ignore[no-untyped-call]
        self._model = BatchedModel(model, 0.8 * timeout)  # ours runs out first, and says what to do
        self.app: ASGIApp = scoring_server.init(self._model)  # type: ignore[arg-type]
        schema = model.metadata.get_params_schema()  # type: ignore[no-untyped-call]
        self.defaults: dict[str, Any] = {param.name: param.default for param in schema.params} if schema else {}
        self._open, self._is_replaced, self._scratch = 0, False, scratch

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"x-model-name", quote(self.name, safe=" ").encode()), (b"x-model-version", b"%d" % self.version)]

    @property
    def problem(self) -> str:
        """What is wrong with it, in few words; nothing if all is well."""
        return self._model.problem

    def __enter__(self) -> "ServedVersion":
        """A request begins. Only the event loop's thread may say so."""
        self._open += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._open -= 1
        self._close_if_unused()

    def replace(self) -> None:
        """No more requests will come: close it after those that have begun."""
        self._is_replaced = True
        self._close_if_unused()

    def close(self) -> None:
        self._model.close()
        if self._scratch:
            self._scratch.cleanup()

    def _close_if_unused(self) -> None:
        if self._is_replaced and not self._open:
            # It waits for a call whose client has given up, for which the event loop must not.
            Thread(target=self.close, daemon=True).start()
