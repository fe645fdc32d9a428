"""The registered model of PARAMS... behind HTTP until Ctrl-C: the version that has ALIAS now. ALIAS, HOST, PORT.

A later promotion does not change what is served: start it again.
"""

import os
import signal
import socket
import tempfile
from pathlib import Path

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import explain_failure
from pipeline.registry.versions import fetch
from pipeline.reviews.ledger import CHAMPION
from pipeline.service.serving import run
from stages.desk import open_desk
from stages.server import interrupt


def serve() -> None:
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with listen(os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "5001")) as listener:
            _serve(os.environ.get("ALIAS") or CHAMPION, listener)
    except KeyboardInterrupt:
        pass
    print("stopped")


def listen(host: str, port: str) -> socket.socket:
    """A socket that listens; taken first, because loading a model takes seconds."""
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"PORT: got {port!r}, expected a number from 1 to 65535, as in: make serve PORT=5002")
    try:
        return socket.create_server((host, int(port)), backlog=512)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise UserError(f"{host}:{port} cannot be used ({reason}); try: make serve PORT=5002") from None


def _serve(alias: str, listener: socket.socket) -> None:
    desk = open_desk()
    client, name = desk.client, desk.production
    with explain_failure(client.tracking_uri):
        version = desk.models.resolve(alias)
    with tempfile.TemporaryDirectory() as scratch:
        package = fetch(client, name, int(version.version), Path(scratch))
        host, port = listener.getsockname()[:2]
        place = f"{name} version {version.version} at http://{host}:{port}"
        run(package, listener, lambda: print(f"serving {place} (Ctrl-C stops it)", flush=True))


if __name__ == "__main__":
    fail_clearly(serve)
