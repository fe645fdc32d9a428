"""Serve the version with the alias ALIAS of a registered model over HTTP until Ctrl-C: PARAMS_FILE...

When a promotion or a rollback moves the alias, the new version is loaded and served. A version that has the alias
champion but is not the champion in the promotion history is refused, because nobody has decided that its code may run
here.
ALIAS, HOST, PORT, AUTH and ALLOWED_HOSTS are read from the environment.
"""

import os
import signal
import socket
from functools import partial

from pipeline.plumbing.artifacts import experiment_option
from pipeline.plumbing.command import BUILD, fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import short_timeouts
from pipeline.reviews.promotion_history import CHAMPION
from pipeline.service.access import Access, Guard
from pipeline.service.accounts import PASSWORD, open_accounts
from pipeline.service.alias_watcher import AliasWatcher
from pipeline.service.serving import Service, run
from stages.registry import asked_experiment, open_registry
from stages.server import interrupt


def serve() -> None:
    host = os.environ.get("HOST") or "127.0.0.1"
    command = f"serve{experiment_option(asked_experiment())}"
    access = Access.read(os.environ, host, command)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with listen(host, os.environ.get("PORT", "5001"), command) as listener:
            _serve(os.environ.get("ALIAS") or CHAMPION, listener, access)
    except KeyboardInterrupt:
        pass
    print("stopped")


def listen(host: str, port: str, command: str) -> socket.socket:
    """Return a listening socket. Raise UserError, with a `make COMMAND` to try, if the address cannot be used."""
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"PORT: got {port!r}, expected a number from 1 to 65535, as in: make {command} PORT=5002")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family, backlog=512)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise UserError(f"{host}:{port} cannot be used ({reason}); try: make {command} PORT=5002") from None


def _serve(alias: str, listener: socket.socket, access: Access) -> None:
    registry = open_registry()
    client, models = registry.client, registry.models
    tell = partial(print, flush=True)
    doubt = models.told_of_doubt if alias == CHAMPION else lambda version: None
    # A registry that does not answer must not delay a translation.
    with short_timeouts():
        is_right = open_accounts(client.tracking_uri, BUILD, os.environ.get(PASSWORD, "")) if access.auth else None
        watcher = AliasWatcher(client, partial(models.resolve, alias), doubt, tell)
        served = watcher.load()
        host, port = listener.getsockname()[:2]
        place = f"{served.name} version {served.version} at http://{f'[{host}]' if ':' in host else host}:{port}"
        service = Service(served, watcher, Guard(access, is_right))
        run(service, listener, lambda: tell(f"serving {place} (Ctrl-C stops it)"))


if __name__ == "__main__":
    fail_clearly(serve)
