"""Watch an alias: ask every few seconds which version has it, and load that version before it is served.

If anything goes wrong, the server continues to serve the last version. Loading a version runs its code in this process.
So a version that must not be served is not even downloaded.
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
RETRY_SECONDS = 60.0  # the time before a version that could not be loaded is tried again


class AliasWatcher:
    """Loads the version that `find` returns, unless `doubt` returns a reason against serving it.

    `tell` is called with a line for each change and each problem.
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
        self._failed: VersionId | None = None  # the version that could not be loaded
        self._retry = 0.0  # when to try that version again
        self._problem = ""  # what is wrong, in few words
        self._stopped = Event()
        self._thread: Thread | None = None

    @property
    def problem(self) -> str:
        """Return a short description of the problem. Without a problem the text is empty."""
        has_died = self._thread is not None and not self._thread.is_alive() and not self._stopped.is_set()
        return "the thread that watches the alias has ended" if has_died else self._problem

    def load(self) -> ServedVersion:
        """Load the first version. Raise UserError if it cannot or must not be served."""
        version = self._find()
        if doubt := self._doubt(version):
            raise UserError(doubt)
        served = self._load(version)
        self._loaded = identify(version)
        return served

    def start(self, switch: Callable[[ServedVersion], None]) -> None:
        """Start a thread that loads each new version and calls `switch` with it."""

        def watch() -> None:
            while not self._stopped.wait(POLL_SECONDS):
                try:
                    self.look(switch)
                except Exception as error:  # of any kind: the next try may succeed
                    self._note("the alias cannot be read", error)

        self._thread = Thread(target=watch, name="alias watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self, switch: Callable[[ServedVersion], None]) -> None:
        """Look up the alias once. If another version has it and may be served, load it and call `switch` with it."""
        try:
            version = self._find()
            doubt = self._doubt(version)
        except Exception as error:  # of any kind: serving goes on
            self._note("the registry cannot be asked which version to serve", error)
            return
        identity = identify(version)
        if doubt:
            self._note("the alias is not on the recorded champion, so it is not followed", doubt)
            return
        if identity == self._loaded:
            self._note("")
            return
        if identity == self._failed and time.monotonic() < self._retry:
            return
        try:
            served = self._load(version)
        except Exception as error:  # of any kind: the version's own code runs
            self._failed, self._retry = identity, time.monotonic() + RETRY_SECONDS
            self._note(f"version {version.version} cannot be loaded", error)
            return
        switch(served)
        self._loaded, self._failed = identity, None
        self._say(f"now serving {version.name} version {version.version}")
        self._note("")

    def _load(self, version: ModelVersion) -> ServedVersion:
        scratch = TemporaryDirectory()
        try:
            package = fetch(self._client, version.name, int(version.version), Path(scratch.name))
            return ServedVersion(version.name, int(version.version), package, scratch)
        except SystemExit as error:
            scratch.cleanup()
            raise UserError(f"{version.name} version {version.version} tries to end the process: {error!r}") from None
        except BaseException:
            scratch.cleanup()
            raise

    def _note(self, problem: str, reason: Exception | str | None = None) -> None:
        """Store the present problem. Print a line when a problem begins, and another when it ends."""
        if problem != self._problem:
            told = without_password(str(reason).strip().partition("\n")[0]) or type(reason).__name__
            self._say(f"warning: {problem}: {told}" if problem else "the problem is over")
        self._problem = problem

    def _say(self, text: str) -> None:
        with suppress(OSError):  # the reader has gone, as in `make serve | head -1`
            self._tell(text)
