"""Follow an alias: ask every few seconds which version it is on, and load that version before it is served.

Whatever goes wrong, the version that was served last is served on.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ..plumbing.tracking.store import without_password
from ..registry.versions import VersionId, fetch, identify
from .served import Served

POLL_SECONDS = 3.0
RETRY_SECONDS = 60.0  # before a version that could not be loaded is tried again


class Follower:
    """Loads the version that `find` returns.

    `doubt` may say why that should not be the version after all; `tell` is told of every change.
    """

    def __init__(
        self,
        client: MlflowClient,
        find: Callable[[], ModelVersion],
        doubt: Callable[[], str | None],
        tell: Callable[[str], None],
    ) -> None:
        self._client, self._find, self._doubt, self._tell = client, find, doubt, tell
        self._loaded: VersionId | None = None
        self._failed: VersionId | None = None  # could not be loaded
        self._retry = 0.0  # when that is tried again
        self.problem = ""  # what is wrong, in few words
        self._stopped = Event()

    def load(self) -> Served:
        """Load the version for the first time. UserError if that cannot be done."""
        version = self._find()
        served = self._load(version)
        self._loaded = identify(version)
        return served

    def start(self, switch: Callable[[Served], None]) -> None:
        """Begin to follow in a thread, which calls `switch` with each new version, loaded."""

        def follow() -> None:
            self._note_doubt()
            while not self._stopped.wait(POLL_SECONDS):
                if served := self.look():
                    switch(served)

        Thread(target=follow, name="follow", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self) -> Served | None:
        """Return the version that the alias is on, loaded, if it is another than before and can be loaded."""
        try:
            version = self._find()
        except Exception as error:  # of any kind: a registry in trouble must not end what works
            self._note("the registry does not say which version is to be served", error)
            return None
        identity = identify(version)
        if identity == self._loaded:
            if self.problem:
                self._note_doubt()
            return None
        if identity == self._failed and time.monotonic() < self._retry:
            return None
        try:
            served = self._load(version)
        except Exception as error:  # of any kind: it is the version's own code that is run
            self._failed, self._retry = identity, time.monotonic() + RETRY_SECONDS
            self._note(f"version {version.version} cannot be loaded", error)
            return None
        self._loaded, self._failed = identity, None
        self._tell(f"{version.name} version {version.version} is served from now on")
        self._note_doubt()
        return served

    def _load(self, version: ModelVersion) -> Served:
        scratch = TemporaryDirectory()
        try:
            package = fetch(self._client, version.name, int(version.version), Path(scratch.name))
            return Served(version.name, int(version.version), package, scratch)
        except BaseException:
            scratch.cleanup()
            raise

    def _note_doubt(self) -> None:
        try:
            doubt = self._doubt()
        except Exception as error:  # of any kind, as above
            self._note("the registry does not say why this version is to be served", error)
            return
        self._note("the alias was moved by hand" if doubt else "", doubt)

    def _note(self, problem: str, reason: Exception | str | None = None) -> None:
        """Keep in mind what is wrong, and tell it, and its end, once."""
        if problem != self.problem:
            told = without_password(str(reason).strip().partition("\n")[0]) or type(reason).__name__
            self._tell(f"warning: {problem}: {told}" if problem else "all is well again")
        self.problem = problem
