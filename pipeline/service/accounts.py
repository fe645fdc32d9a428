"""Prepare MLflow's basic auth before a server starts: the database of accounts, the secret key, the settings.

This module makes only the admin's account. Other accounts and permissions are made through the running server.
"""

import base64
import logging
import os
import re
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from sqlalchemy import make_url

from ..plumbing.errors import UserError
from ..plumbing.tracking.local_store import sqlite_uri
from ..plumbing.tracking.store import is_server, store_lock, without_password

ADMIN = "admin"
PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"  # environment variable, needed once
ASK_SECONDS = 10.0  # for a server to answer
SHORTEST_PASSWORD = 12  # characters; MLflow's rule
PUBLIC_PASSWORD = "password1234"  # MLflow's old default, which it refuses
PORTS = {"postgresql": "5432", "mysql": "3306", "mssql": "1433"}  # default ports, for URLs without one
log = logging.getLogger(__name__)
SETTINGS = """\
[mlflow]
default_permission = READ
database_uri = {uri}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def accounts_database(store: str, build: Path) -> Path:
    """Return the database of accounts of a store. Permissions name experiments by number, so each store has its own."""
    database, before = _accounts_name(store, build), _early_name(store, build)
    if database.exists() or not before.exists():
        return database
    if before != database:
        log.warning(
            "using the accounts in %s, which a store with a similar name may use, too; "
            "to give this store accounts of its own, copy this file to %s",
            before,
            database,
        )
    return before


def _early_name(store: str, build: Path) -> Path:
    """Return the file that an earlier version of this pipeline used. Its name ignores ports and hyphens."""
    url = make_url(store)
    if url.get_backend_name() == "sqlite":
        return Path(url.database or "mlflow.db").resolve().with_suffix(".accounts.db")
    name = re.sub(r"[^\w.-]+", "_", f"{url.get_backend_name()}-{url.host or 'local'}-{url.database}")
    return build.resolve() / f"{name}.accounts.db"


def _accounts_name(store: str, build: Path) -> Path:
    url = make_url(store)
    backend = url.get_backend_name()
    if backend == "sqlite":
        path = Path(url.database or "mlflow.db").resolve()
        return path.with_name(f"{path.name.removesuffix('.db')}.accounts.db")
    host = url.host or ",".join(url.normalized_query.get("host", ())) or "local"
    port = str(url.port or ",".join(url.normalized_query.get("port", ())) or PORTS.get(backend, ""))
    ports = [] if port == PORTS.get(backend, "") else [port]
    parts = (quote(part, safe="").replace("-", "%2D") for part in (backend, host, *ports, url.database or ""))
    return build.resolve() / f"{'-'.join(parts)}.accounts.db"


def open_accounts(uri: str, build: Path, password: str) -> Callable[[str, str], bool]:
    """Return a function that returns whether a name and a password belong to an account.

    The accounts are those of the server at `uri`. If `uri` is a database, they are those of `make server` for this
    database. If these are missing, they are made now, with `password` for the admin.
    """
    if is_server(uri):
        if _is_let_in(uri, ""):
            raise UserError(
                f"AUTH=1: the server at {without_password(uri)} asks for no account; "
                "start it with accounts, as in: make server AUTH=1"
            )
        return partial(_has_account, uri)
    database = accounts_database(uri, build)
    check_password(password, database)
    with store_lock(build):
        prepare_accounts(database, password)
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore  # takes seconds

    store = SqlAlchemyStore()
    store.init_db(sqlite_uri(database))  # type: ignore[no-untyped-call]
    return store.authenticate_user


def _has_account(uri: str, name: str, password: str) -> bool:
    return _is_let_in(uri, f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}")


def _is_let_in(uri: str, authorization: str) -> bool:
    parts = urlsplit(uri)  # urllib accepts no name and password in a URL
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    request = Request(f"{address}/api/2.0/mlflow/experiments/search?max_results=1")
    if authorization:
        request.add_header("Authorization", authorization)
    try:
        with urlopen(request, timeout=ASK_SECONDS):
            return True
    except HTTPError as error:
        if error.code in (401, 403):
            return False
        raise


def check_password(password: str, database: Path) -> None:
    """Raise UserError unless the admin's account exists or can be made with this password."""
    if database.exists():
        return
    if len(password) < SHORTEST_PASSWORD or password == PUBLIC_PASSWORD:
        raise UserError(
            f"MLFLOW_AUTH_ADMIN_PASSWORD: got {len(password)} characters, expected {SHORTEST_PASSWORD} or more and "
            f"not {PUBLIC_PASSWORD!r}; {database} does not exist yet, so set this variable to the first password "
            f"of {ADMIN!r}"
        )


def prepare_accounts(database: Path, password: str) -> dict[str, str]:
    """Make missing files, which only this user can read. Return the environment variables for the server's process."""
    if not database.exists():
        _make_database(database, password)
    key, settings = database.with_suffix(".key"), database.with_suffix(".ini")
    if not key.exists():
        _write(key, secrets.token_hex(32))
    uri = sqlite_uri(database).replace("%", "%%")
    _write(settings, SETTINGS.format(uri=uri, admin=ADMIN))
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY") or key.read_text(),
    }


def _make_database(path: Path, password: str) -> None:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore  # takes seconds, and is needed once

    scratch = path.with_name(f"{path.name}.new")
    for leftover in (scratch, scratch.with_name(f"{scratch.name}-journal")):
        leftover.unlink(missing_ok=True)
    scratch.touch(mode=0o600)
    store = SqlAlchemyStore()
    store.init_db(sqlite_uri(scratch))  # type: ignore[no-untyped-call]
    store.create_user(ADMIN, password, is_admin=True)
    store.engine.dispose()
    os.rename(scratch, path)


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.touch(mode=0o600)
    scratch.write_text(text, encoding="utf-8")
    os.rename(scratch, path)
