"""Follow an alias: ask every few seconds which version it is on, and load that version before it is served.

Whatever goes wrong, the version that was served last is served on. To load a version is to run its code in this
process: one that should not be served is not even fetched.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ..plumbing.errors import UserError
from ..plumbing.tracking.store import without_password
from ..registry.versions import VersionId, fetch, identify
from .served_version import ServedVersion

POLL_SECONDS = 3.0
RETRY_SECONDS = 60.0  # before a version that could not be loaded is tried again


class AliasWatcher:
    """Loads the version that `find` returns, unless `doubt` says why it must not be served.

    `tell` is told of every change.
    """

    def __init__(
        self,
        client: MlflowClient,
        find: Callable[[], ModelVersion],
        doubt: Callable[[ModelVersion], str | None],
        tell: Callable[[str], None],
    ) -> None:
        self._client, self._find, self._doubt, self._tell = client, find, doubt, tell
        self._loaded: VersionId | None = None
        self._failed: VersionId | None = None  # could not be loaded
        self._retry = 0.0  # when that is tried again
        self._problem = ""  # what is wrong, in few words
        self._stopped = Event()
        self._thread: Thread | None = None

    @property
    def problem(self) -> str:
        """What is wrong, in few words; nothing if all is well."""
        has_died = self._thread is not None and not self._thread.is_alive() and not self._stopped.is_set()
        return "the alias is not followed any more" if has_died else self._problem

    def load(self) -> ServedVersion:
        """Load the version for the first time. UserError if that cannot be done, or must not be."""
        version = self._find()
        if doubt := self._doubt(version):
            raise UserError(doubt)
        served = self._load(version)
        self._loaded = identify(version)
        return served

    def start(self, switch: Callable[[ServedVersion], None]) -> None:
        """Begin to follow in a thread, which calls `switch` with each new version, loaded."""

        def follow() -> None:
            while not self._stopped.wait(POLL_SECONDS):
                try:
                    self.look(switch)
                except Exception as error:  # of any kind: it goes on at the next look
                    self._note("the alias cannot be followed", error)

        self._thread = Thread(target=follow, name="follow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self, switch: Callable[[ServedVersion], None]) -> None:
        """Call `switch` with the version that the alias is on, loaded, if it is another than before and may be."""
        try:
            version = self._find()
            doubt = self._doubt(version)
        except Exception as error:  # of any kind: a registry in trouble must not end what works
            self._note("the registry does not say which version is to be served", error)
            return
        identity = identify(version)
        if doubt:
            self._note("the alias is not on the champion of the record, and is not followed", doubt)
            return
        if identity == self._loaded:
            self._note("")
            return
        if identity == self._failed and time.monotonic() < self._retry:
            return
        try:
            served = self._load(version)
        except Exception as error:  # of any kind: it is the version's own code that is run
            self._failed, self._retry = identity, time.monotonic() + RETRY_SECONDS
            self._note(f"version {version.version} cannot be loaded", error)
            return
        switch(served)
        self._loaded, self._failed = identity, None
        self._say(f"{version.name} version {version.version} is served from now on")
        self._note("")

    def _load(self, version: ModelVersion) -> ServedVersion:
        scratch = TemporaryDirectory()
        try:
            package = fetch(self._client, version.name, int(version.version), Path(scratch.name))
            return ServedVersion(version.name, int(version.version), package, scratch)
        except SystemExit as error:
            scratch.cleanup()
            raise UserError(f"{version.name} version {version.version} wants to end the process: {error!r}") from None
        except BaseException:
            scratch.cleanup()
            raise

    def _note(self, problem: str, reason: Exception | str | None = None) -> None:
        """Keep in mind what is wrong, and tell it, and its end, once."""
        if problem != self._problem:
            told = without_password(str(reason).strip().partition("\n")[0]) or type(reason).__name__
            self._say(f"warning: {problem}: {told}" if problem else "all is well again")
        self._problem = problem

    def _say(self, text: str) -> None:
        with suppress(OSError):  # nobody reads any more, as in `make serve | head -1`
            self._tell(text)
