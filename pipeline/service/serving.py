"""Serve a version over HTTP in MLflow's scoring protocol.

A request is checked and limited before MLflow's scoring server gets it. The answer to a wrong request says what to send
instead. Each answer names the model and the version in its headers. When another version is to be served, the old
version still answers the requests that have begun.
"""

import asyncio
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from mlflow.version import VERSION
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from .access import Guard
from .alias_watcher import AliasWatcher
from .protocol import CONTENT_TYPE, EXAMPLE_REQUEST, Refused, read_request
from .served_version import ServedVersion

MAX_BODY_BYTES = 1 << 20
BODY_SECONDS = 10.0  # the time that a client has to send the body
MAX_OPEN_REQUESTS = 256  # each waits in a thread
SHUTDOWN_SECONDS = 10  # the time for open requests when the server stops
HOME_PAGE = """\
{name}, version {version}

A translator, served in MLflow's scoring protocol:

  curl http://{host}/invocations -H 'Content-Type: application/json' -d '{example}'

GET /health reports problems, GET /version the model and version, GET /ping only that the server is up.
"""


class Service:
    """The ASGI application in front of the served version.

    The watcher, if there is one, replaces the version while the service runs. The guard, if there is one, refuses
    requests that are not allowed.
    """

    def __init__(self, served: ServedVersion, watcher: AliasWatcher | None = None, guard: Guard | None = None) -> None:
        self._served, self._watcher, self._guard = served, watcher, guard
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            with self._served as served:
                await self._answer(served, scope, receive, _with_headers(send, served.headers))
        else:  # a websocket, which is not supported
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(MAX_OPEN_REQUESTS))  # MLflow's predict runs there
        if self._watcher:
            self._watcher.start(lambda served: _in_loop(loop, self._switch, served))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._watcher:
            self._watcher.stop()
        if self._guard:
            self._guard.close()
        self._served.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _switch(self, served: ServedVersion) -> None:
        before, self._served = self._served, served
        before.replace()

    async def _answer(self, served: ServedVersion, scope: Scope, receive: Receive, send: Send) -> None:
        if self._guard and (refusal := await self._guard.refusal(scope)):
            await refusal(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        pages: dict[str, Callable[[], Response]] = {
            "/": lambda: _home(served, scope),
            "/ping": lambda: Response("\n", media_type=CONTENT_TYPE),  # as MLflow does
            "/health": lambda: JSONResponse({"status": "ok"} | self._which(served) | self._problem(served)),
            "/version": lambda: JSONResponse(self._which(served) | {"mlflow": VERSION}),
        }
        if path == "/invocations" and method == "POST":
            await self._invoke(served, scope, receive, send)
        elif path == "/invocations":
            message = f"{method} {path}: expected POST with a body such as {EXAMPLE_REQUEST}"
            await _refuse(405, message, {"allow": "POST"})(scope, receive, send)
        elif path in pages and method in ("GET", "HEAD"):
            await pages[path]()(scope, receive, send)
        elif path in pages:
            message = f"{method} {path}: expected GET; sentences go to POST /invocations"
            await _refuse(405, message, {"allow": "GET, HEAD"})(scope, receive, send)
        else:
            message = f"{path!r:.80}: expected POST /invocations, or GET /, /health, /ping or /version"
            await _refuse(404, message)(scope, receive, send)

    def _which(self, served: ServedVersion) -> dict[str, str]:
        return {"model": served.name, "version": str(served.version)}

    def _problem(self, served: ServedVersion) -> dict[str, str]:
        problems = [served.problem, self._watcher.problem if self._watcher else ""]
        told = "; ".join(filter(None, problems))
        return {"problem": f"{told}; the server's log says why"} if told else {}

    async def _invoke(self, served: ServedVersion, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open >= MAX_OPEN_REQUESTS:
            await _refuse(429, f"{MAX_OPEN_REQUESTS} requests are open; try again later")(scope, receive, send)
            return
        self._open += 1
        try:
            body = await _read(receive)
            sentences, params = read_request(_content_type(scope), body, served.defaults)
        except Refused as refused:
            await _refuse(refused.status, str(refused))(scope, receive, send)
        except ConnectionError:
            pass  # the client has gone
        else:
            request = json.dumps({"inputs": sentences, "params": params}).encode()
            await served.app(_with_body(scope, request), _again(request, receive), send)
        finally:
            self._open -= 1


def run(service: Service, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM. uvicorn sends the signal again when it ends."""
    config = uvicorn.Config(service, log_level="warning", lifespan="on", timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    ready()
    uvicorn.Server(config).run(sockets=[listener])


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[[ServedVersion], None], served: ServedVersion) -> None:
    try:
        loop.call_soon_threadsafe(function, served)
    except RuntimeError:
        served.close()  # the server has ended in the meantime


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return send_with_headers


def _home(served: ServedVersion, scope: Scope) -> Response:
    host, port = scope.get("server") or ("127.0.0.1", 80)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return PlainTextResponse(
        HOME_PAGE.format(name=served.name, version=served.version, host=where, example=EXAMPLE_REQUEST)
    )


def _content_type(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"), "")


async def _read(receive: Receive) -> bytes:
    """Return the body. A body that is too large is also read to its end: a client that still sends gets no answer."""
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size <= MAX_BODY_BYTES:
                    body += chunk
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None
    if size > MAX_BODY_BYTES:
        raise Refused(413, f"the body: got {size:,} bytes, expected at most {MAX_BODY_BYTES:,}; send it in parts")
    return bytes(body)


def _with_body(scope: Scope, body: bytes) -> Scope:
    """Return the scope of the request with another body, which is JSON."""
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-type", b"content-length")]
    ours = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    return {**scope, "headers": kept + ours}


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body again after it was read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error in the format of MLflow."""
    return JSONResponse({"error_code": "BAD_REQUEST", "message": message}, status, headers)
