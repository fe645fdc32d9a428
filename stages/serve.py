"""The registered model of PARAMS... behind HTTP until Ctrl-C: the version that has ALIAS now. ALIAS, HOST, PORT.

A later promotion does not change what is served: start it again.
"""

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.params_file import read_params
from pipeline.serving import run
from pipeline.store import open_store
from pipeline.versions import fetch, resolve
from stages.command import fail_clearly
from stages.ui import interrupt

BUILD = Path("build")


def serve() -> None:
    name = model_name(read_params([Path(argument) for argument in sys.argv[1:]]))
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with listen(os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "5001")) as listener:
            _serve(name, os.environ.get("ALIAS", "champion"), listener)
    except KeyboardInterrupt:
        pass
    print("stopped")


def model_name(params: Params) -> str:
    """The registered model's name, with the languages filled in."""
    name = params.registration.model_name
    for side in ("source_language", "target_language"):
        name = name.replace(f"{{{side}}}", getattr(params.download, side))
    return name


def listen(host: str, port: str) -> socket.socket:
    """A socket that listens; taken first, because loading a model takes seconds."""
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"PORT: got {port!r}, expected a number from 1 to 65535, as in: make serve PORT=5002")
    try:
        return socket.create_server((host, int(port)), backlog=512)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise UserError(f"{host}:{port} cannot be used ({reason}); try: make serve PORT=5002") from None


def _serve(name: str, alias: str, listener: socket.socket) -> None:
    client = open_store(BUILD)
    version = resolve(client, name, alias)
    with tempfile.TemporaryDirectory() as scratch:
        package = fetch(client, name, str(version.version), Path(scratch))
        host, port = listener.getsockname()[:2]
        place = f"{name} version {version.version} at http://{host}:{port}"
        run(package, listener, lambda: print(f"serving {place} (Ctrl-C stops it)", flush=True))


if __name__ == "__main__":
    fail_clearly(serve)
