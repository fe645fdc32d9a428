"""Owns what MLflow's scoring server lacks: limits on what reaches it, clear refusals of what is no request.

The protocol is MLflow's. Every POST is checked here first: its size, type, JSON and shape, and how long it may take.
"""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.pyfunc import PyFuncModel, load_model, scoring_server
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .joining import JoinedModel

BODY = 1 << 20  # bytes
BODY_SECONDS = 10.0  # for a client to send it
WORK = 100_000_000  # see `work_of`; on two cores 10 to 40 s, the scoring server gives up after 60
REQUESTS = 256  # at once; each waits in a thread
STOP_SECONDS = 10  # for those that are open when the server is told to stop
CONTENT_TYPE = "application/json"
EXAMPLE = '{"inputs": ["a sentence"], "params": {"beam_size": 5}}'


class Refused(Exception):
    """A request that MLflow is not given: its status, and what was wrong."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """MLflow's scoring server for `model` as an ASGI application with our checks before it."""

    def __init__(self, model: PyFuncModel) -> None:
        timeout: int = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()  # type: ignore[no-untyped-call]
        patience = 0.8 * timeout  # ours runs out first, and says what to do
        self._model = JoinedModel(model, patience)
        self._app: ASGIApp = scoring_server.init(self._model)  # type: ignore[arg-type]
        schema = model.metadata.get_params_schema()  # type: ignore[no-untyped-call]
        self._defaults = {param.name: param.default for param in schema.params} if schema else {}
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._post(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(REQUESTS))  # MLflow's predict runs there
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        self._model.close()

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= REQUESTS:
            await _refuse(429, f"{REQUESTS} requests are open; try again later")(scope, receive, send)
            return
        self._open += 1
        try:
            body = await _read(receive)
            check(_content_type(scope), body, self._defaults)
        except Refused as refused:
            await _refuse(refused.status, str(refused))(scope, receive, send)
        except ConnectionError:
            pass  # nobody is left to tell
        else:
            await self._app(scope, _again(body, receive), send)
        finally:
            self._open -= 1


def run(package: Path, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve the package on a socket that listens, until SIGINT or SIGTERM; uvicorn raises them again at the end."""
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    service = Service(load_model(str(package)))
    config = uvicorn.Config(service, log_level="warning", lifespan="on", timeout_graceful_shutdown=STOP_SECONDS)
    ready()
    uvicorn.Server(config).run(sockets=[listener])


def check(content_type: str, body: bytes, defaults: dict[str, Any]) -> None:
    """Refused unless this is a request of the right shape; what its values may be is the model's to say."""
    if content_type.partition(";")[0].strip() != CONTENT_TYPE:
        raise Refused(415, f"content type: got {content_type!r:.80}, expected {CONTENT_TYPE}")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:  # not JSON, not Unicode, a number of 5,000 digits; nested too deep
        raise Refused(400, f"the body is no JSON: {error}; expected for example {EXAMPLE}") from None
    if not isinstance(request, dict) or not {"inputs"} <= request.keys() <= {"inputs", "params"}:
        got = f"the keys {sorted(request)!r:.80}" if isinstance(request, dict) else f"a {type(request).__name__}"
        raise Refused(400, f"the body: got {got}, expected inputs and, if wanted, params, as in {EXAMPLE}")
    sentences = request["inputs"]
    params = {} if request.get("params") is None else request["params"]
    if not isinstance(sentences, list):
        raise Refused(400, f"inputs: got a {type(sentences).__name__}, expected a list of texts")
    for place, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            raise Refused(400, f"inputs[{place}]: got a {type(sentence).__name__}, expected a text")
    if not isinstance(params, dict):
        raise Refused(400, f"params: got a {type(params).__name__}, expected an object such as {{'beam_size': 5}}")
    for name, value in params.items():
        if name not in defaults:
            raise Refused(400, f"params: got {name!r:.80}, expected one of {', '.join(defaults)}")
        if isinstance(value, list | dict):
            raise Refused(400, f"params.{name}: got a {type(value).__name__}, expected a single value")
    work = work_of(sentences, (defaults | params).get("beam_size"))
    if work > WORK:
        raise Refused(413, f"the request may take too long: its work is {work:,}, at most {WORK:,}; send it in parts")


def work_of(sentences: list[str], beam_size: object) -> int:
    """A bound of the time to translate them: each step's grows with the sentence's length, and so do the steps.

    Half a microsecond a unit, untrained models of the default size on one core. A piece has at least one byte.
    """
    beam = min(beam_size, 1_000) if isinstance(beam_size, int) else 1
    lengths = [len(sentence.encode(errors="replace")) for sentence in sentences]
    return beam * sum(length * (100 + length) for length in lengths)


def _content_type(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"), "")


async def _read(receive: Receive) -> bytes:
    """The whole body. One that is too large is read as well, and dropped: who is still sending would hear nothing."""
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size <= BODY:
                    body += chunk
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None
    if size > BODY:
        raise Refused(413, f"the body: got {size:,} bytes, expected at most {BODY:,}; send it in parts")
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` for whoever wants the body that has been read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def _refuse(status: int, message: str) -> JSONResponse:
    """As MLflow tells its errors."""
    return JSONResponse({"error_code": "BAD_REQUEST", "message": message}, status)
