"""Who may reach a server of this project: one rule for `make server` and `make serve`.

Other machines are let in with accounts alone. All are let in by the names that are given, and by those of loopback: a
page of another site in somebody's browser could else send requests under a name of its own (DNS rebinding).
"""

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from ..plumbing.errors import UserError

OPEN = ("/ping", "/health")  # to anybody, as those who watch over servers need it
REMEMBERED_SECONDS = 60.0  # a password that was right: to check it takes longer than to translate
AWAY_SECONDS = 3600.0  # the same, while the accounts cannot be asked
CHECKS = 2  # passwords checked at once, in threads that no translation waits for
WAITING = 32  # passwords that wait for it
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?")  # as the header has it

log = logging.getLogger(__name__)


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
        self._access = access
        self._accounts = _Accounts(is_right) if is_right else None

    async def refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in; None if it is."""
        headers = Headers(scope=scope)
        for host in headers.getlist("host"):  # without one it is no browser's
            name = _name_in(host)
            if not (is_loopback(name) or name in self._access.allowed_hosts):
                return _refuse(403, "PERMISSION_DENIED", f"host: got {host!r:.80}, which is no name of this server")
        if self._accounts is None or scope["path"] in OPEN:
            return None
        return await self._accounts.refusal(headers.get("authorization", ""))

    def close(self) -> None:
        if self._accounts:
            self._accounts.close()


class _Accounts:
    """Checks credentials, and remembers those that were right."""

    def __init__(self, is_right: Callable[[str, str], bool]) -> None:
        self._is_right = is_right
        self._threads = ThreadPoolExecutor(CHECKS, "accounts")
        self._checks: dict[bytes, asyncio.Future[bool]] = {}  # by the credentials' digest
        # Digest of credentials that were right -> until when that holds, and until when if they cannot be checked.
        self._remembered: dict[bytes, tuple[float, float]] = {}

    async def refusal(self, authorization: str) -> Response | None:
        """Return the answer to a request without the credentials of an account; None if it has them."""
        digest, now = hashlib.sha256(authorization.encode()).digest(), time.monotonic()
        known_until, kept_until = self._remembered.get(digest, (0.0, 0.0))
        if known_until > now:
            return None
        credentials = _credentials(authorization)
        if credentials is None:
            return _unauthenticated()
        if digest not in self._checks | self._remembered and len(self._checks) >= WAITING:
            told = "too many passwords wait to be checked; try again later"
            return _refuse(429, "REQUEST_LIMIT_EXCEEDED", told, {"retry-after": "1"})
        try:
            is_right = await self._check(digest, credentials)
        except Exception as error:  # of any kind: whatever the accounts' server or database raises
            log.warning("accounts cannot be checked: %s", type(error).__name__)
            if kept_until <= now:
                return _refuse(503, "TEMPORARILY_UNAVAILABLE", "accounts cannot be checked now; try again later")
        else:
            if not is_right:
                self._remembered.pop(digest, None)
                return _unauthenticated()
            kept_until = now + AWAY_SECONDS
        self._remembered[digest] = now + REMEMBERED_SECONDS, kept_until
        return None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, digest: bytes, credentials: tuple[str, str]) -> asyncio.Future[bool]:
        """Check them once for all who ask with them at the same time, also if the first of these goes away."""
        if digest not in self._checks:
            check = asyncio.get_running_loop().run_in_executor(self._threads, self._is_right, *credentials)
            self._checks[digest] = check
            check.add_done_callback(lambda _: self._checks.pop(digest))
        return asyncio.shield(self._checks[digest])


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(text: str) -> str:
    """One of ALLOWED_HOSTS: a name, without the wildcards with which MLflow would let in any."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+", text):
        raise UserError(f"ALLOWED_HOSTS: got {text!r}, expected names like mlflow.example.org, without a port")
    return text.lower()


def _name_in(host: str) -> str:
    """The name or the address in a Host header; nothing if it is none."""
    match = HOST.fullmatch(host.lower())
    return (match[1] or match[2]) if match else ""


def _credentials(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if scheme.lower() == "basic" and colon else None


def _unauthenticated() -> JSONResponse:
    message = "expected an account's name and password in basic auth, as in: curl -u name ..."
    return _refuse(401, "UNAUTHENTICATED", message, {"www-authenticate": 'Basic realm="models"'})


def _refuse(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error_code": code, "message": message}, status, headers)
