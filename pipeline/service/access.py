"""Who may reach a server of this project: one rule for `make server` and `make serve`.

Other machines are let in with accounts alone, and by the names that are given: a page of another site in somebody's
browser could else send requests under a name of its own (DNS rebinding).
"""

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from ..plumbing.errors import UserError

OPEN = ("/ping", "/health")  # to anybody, as those who watch over servers need it
REMEMBERED_SECONDS = 60.0  # a password that was right: to check it takes longer than to translate


@dataclass(frozen=True)
class Access:
    """Whom a server lets in."""

    auth: bool  # only with an account
    allowed_hosts: tuple[str, ...]  # names by which it is called, besides those of this machine's loopback

    @classmethod
    def read(cls, environment: Mapping[str, str], host: str, target: str) -> "Access":
        """Read AUTH and ALLOWED_HOSTS. UserError if they cannot be, or let other machines in without accounts."""
        auth, names = environment.get("AUTH") or "0", environment.get("ALLOWED_HOSTS", "")
        if auth not in ("0", "1"):
            raise UserError(f"AUTH: got {auth!r}, expected 1 for basic auth, or nothing")
        access = cls(auth == "1", tuple(_host_name(name) for name in names.replace(",", " ").split()))
        if not is_loopback(host) and not (access.auth and access.allowed_hosts):
            raise UserError(
                f"HOST={host} lets other machines in, which needs basic auth and the names by which they call this "
                f"one: make {target} HOST={host} AUTH=1 ALLOWED_HOSTS=mlflow.example.org"
            )
        return access


class Guard:
    """Lets requests in by `access`; `is_right` tells whether a name and a password belong together.

    Without it nobody is asked for them.
    """

    def __init__(self, access: Access, is_right: Callable[[str, str], bool] | None = None) -> None:
        self._access, self._is_right = access, is_right
        self._remembered: dict[bytes, float] = {}  # digest of credentials that were right -> until when

    async def refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in; None if it is."""
        headers = Headers(scope=scope)
        name = headers.get("host", "").rpartition("]")[2].partition(":")[0] or "localhost"
        if self._access.allowed_hosts and name not in ("localhost", "127.0.0.1", *self._access.allowed_hosts):
            return _refuse(403, f"host: got {name!r:.80}, which is no name of this server")
        if self._is_right is None or scope["path"] in OPEN:
            return None
        if not await self._is_known(headers.get("authorization", ""), self._is_right):
            message = "expected an account's name and password in basic auth, as in: curl -u name ..."
            return _refuse(401, message, {"www-authenticate": 'Basic realm="models"'})
        return None

    async def _is_known(self, authorization: str, is_right: Callable[[str, str], bool]) -> bool:
        digest, now = hashlib.sha256(authorization.encode()).digest(), time.monotonic()
        if self._remembered.get(digest, 0.0) > now:
            return True
        credentials = _credentials(authorization)
        if credentials is None or not await asyncio.to_thread(is_right, *credentials):
            return False
        self._remembered[digest] = now + REMEMBERED_SECONDS
        return True


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(text: str) -> str:
    """One of ALLOWED_HOSTS: a name, without the wildcards with which MLflow would let in any."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+", text):
        raise UserError(f"ALLOWED_HOSTS: got {text!r}, expected names like mlflow.example.org, without a port")
    return text


def _credentials(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if scheme.lower() == "basic" and colon else None


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    code = "UNAUTHENTICATED" if status == 401 else "PERMISSION_DENIED"
    return JSONResponse({"error_code": code, "message": message}, status, headers)
