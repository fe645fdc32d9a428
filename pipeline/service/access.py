"""Control who may use a server of this project. The same rules hold for `make server` and `make serve`.

Requests from other machines need accounts. The Host header of every request must be a name of loopback or one of
ALLOWED_HOSTS. So a foreign page in somebody's browser cannot send requests under a host name of its own (DNS
rebinding).
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

OPEN = ("/ping", "/health")  # paths that need no account, for monitoring
REMEMBERED_SECONDS = 60.0  # how long a right password is remembered: checking it takes longer than translating
AWAY_SECONDS = 3600.0  # how long it is remembered while the accounts cannot be reached
CHECKS = 2  # the most passwords that are checked at once, each in a thread
WAITING = 32  # the most passwords that wait for a check
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?")  # the Host header

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """The rules for the requests that a server accepts."""

    auth: bool  # an account is required
    allowed_hosts: tuple[str, ...]  # names of the server, besides loopback's

    @classmethod
    def read(cls, environment: Mapping[str, str], host: str, target: str) -> "Access":
        """Read AUTH and ALLOWED_HOSTS. Raise UserError if they are wrong or admit other machines without accounts."""
        auth, names = environment.get("AUTH") or "0", environment.get("ALLOWED_HOSTS", "")
        if auth not in ("0", "1"):
            raise UserError(f"AUTH: got {auth!r}, expected 1 for basic auth, or nothing")
        access = cls(auth == "1", tuple(_host_name(name) for name in names.replace(",", " ").split()))
        if not is_loopback(host) and not (access.auth and access.allowed_hosts):
            raise UserError(
                f"HOST={host} lets other machines in, which needs basic auth and the names by which they call this "
                f"machine: make {target} HOST={host} AUTH=1 ALLOWED_HOSTS=mlflow.example.org"
            )
        return access


class Guard:
    """Refuses requests that `access` does not allow.

    `is_right` returns whether a name and a password belong to an account. It is None if no account is required.
    """

    def __init__(self, access: Access, is_right: Callable[[str, str], bool] | None = None) -> None:
        self._access = access
        self._accounts = _Accounts(is_right) if is_right else None

    async def refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused; None for a request that is accepted."""
        headers = Headers(scope=scope)
        for host in headers.getlist("host"):  # every browser sends one
            name = _name_in(host)
            if not (is_loopback(name) or name in self._access.allowed_hosts):
                return _refuse(403, "PERMISSION_DENIED", f"host: got {host!r:.80}, expected a name of this server")
        if self._accounts is None or scope["path"] in OPEN:
            return None
        return await self._accounts.refusal(headers.get("authorization", ""))

    def close(self) -> None:
        if self._accounts:
            self._accounts.close()


class _Accounts:
    """Checks credentials, and remembers the right ones."""

    def __init__(self, is_right: Callable[[str, str], bool]) -> None:
        self._is_right = is_right
        self._threads = ThreadPoolExecutor(CHECKS, "accounts")
        self._checks: dict[bytes, asyncio.Future[bool]] = {}  # by the credentials' digest
        # Digest of right credentials -> time until they are checked again, time until they hold without a check.
        self._remembered: dict[bytes, tuple[float, float]] = {}

    async def refusal(self, authorization: str) -> Response | None:
        """Return the answer to a request with wrong credentials or none; None for a request with right credentials."""
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
        except Exception as error:  # whatever the accounts' server or database raises
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
        """Check credentials once for all requests that wait with the same ones, even if the first is cancelled."""
        if digest not in self._checks:
            check = asyncio.get_running_loop().run_in_executor(self._threads, self._is_right, *credentials)
            self._checks[digest] = check
            check.add_done_callback(lambda _: self._checks.pop(digest))
        return asyncio.shield(self._checks[digest])


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is that of this machine's loopback interface."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(text: str) -> str:
    """Return one of ALLOWED_HOSTS. Raise UserError for a wildcard, with which MLflow would accept any name."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+", text):
        raise UserError(f"ALLOWED_HOSTS: got {text!r}, expected names like mlflow.example.org, without a port")
    return text.lower()


def _name_in(host: str) -> str:
    """Return the name or the address in a Host header; empty if the header is wrong."""
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
