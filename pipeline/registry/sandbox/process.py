"""Run a program that nobody here wrote: apart from the user's files, secrets, network and processes, and within limits.

What it may do is in docs/threat-model.md, how it is shut in in isolation.py. A line goes in, a line comes out.
"""

import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn

import psutil

from ...plumbing.errors import UserError
from . import isolation

PROCESSES = 64
LEAST = psutil.virtual_memory().total // 16  # bytes of free memory that a machine should keep
ANSWER = 16 << 20  # bytes of a line
CHUNK = 1 << 16
KEPT, SHOWN = 8 << 10, 10  # bytes that are kept of what it says on standard error, and lines that are shown
TICK = 0.5  # seconds between two looks at its memory and processes
LAST = 10.0  # seconds that the end of a process may take


class Misbehaviour(UserError):
    """A program ended, broke a limit or did not answer as it must."""

    def __init__(self, name: str, reason: str, said: str = "") -> None:
        super().__init__(f"{name} does not load and translate in a fresh process: {reason}\n{said}".rstrip())
        self.name, self.reason, self.said = name, reason, said


@dataclass
class SandboxedProcess:
    """A running program. What it says is foreign: a line of any content, of bounded size, in bounded time."""

    name: str  # for errors
    _process: subprocess.Popen[bytes]
    _said: bytes = b""  # the end of standard error
    _members: list[psutil.Process] = field(default_factory=list)  # all its processes, when last looked at
    _broken: str = ""  # what limit it broke
    _free: int = field(default_factory=lambda: _free_memory())  # when it started
    _left: threading.Event = field(default_factory=threading.Event)

    def ask(self, request: bytes, seconds: float) -> bytes:
        """Send a line, and return the line that comes back. Misbehaviour if that is not all that comes, in time."""
        stdin, stdout, stderr = map(_descriptor, (self._process.stdin, self._process.stdout, self._process.stderr))
        until = time.monotonic() + seconds
        waiting, answer = request + b"\n", bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            if ready.select(0) and os.read(stdout, 1):
                self.fail("it spoke without being asked")
            ready.register(stdin, selectors.EVENT_WRITE)
            ready.register(stderr, selectors.EVENT_READ)
            while waiting or not answer.endswith(b"\n"):
                events = ready.select(max(0.0, until - time.monotonic()))
                if time.monotonic() > until:
                    self.fail(f"it gave no answer within {seconds:g} s")
                for key, _ in events:
                    if key.fd == stdin:
                        waiting = _send(stdin, waiting)
                    elif key.fd == stdout:
                        answer += os.read(stdout, CHUNK) or self._end()
                    elif not self._listen():
                        ready.unregister(stderr)
                if not waiting and stdin in ready.get_map():
                    ready.unregister(stdin)
                if len(answer) > ANSWER:
                    self.fail(f"it answered with more than {ANSWER:,} bytes")
        if b"\n" in answer[:-1]:
            self.fail("it gave more than one answer")
        return bytes(answer)

    def fail(self, reason: str) -> NoReturn:
        """Raise Misbehaviour, with the last that the program said on standard error."""
        for _ in range(KEPT):  # it may go on for ever
            if not self._listen():
                break
        text = self._said.decode(errors="replace")
        said = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
        raise Misbehaviour(self.name, self._broken or reason, "\n".join(said.splitlines()[-SHOWN:]))

    def _end(self) -> NoReturn:
        """Tell how a program ended that closed its output."""
        try:
            status = self._process.wait(LAST)
        except subprocess.TimeoutExpired:
            self.fail("it closed its output instead of answering")
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.fail(f"it {how} instead of answering")

    def _listen(self) -> bool:
        """Read what there is on standard error; whether there may be more."""
        try:
            chunk = os.read(_descriptor(self._process.stderr), CHUNK)
        except BlockingIOError:
            return False
        self._said = (self._said + chunk)[-KEPT:]
        return bool(chunk)

    def watch(self) -> None:
        """Until it is left, look at all its processes; end them when they have too much memory or are too many."""
        while not self._left.wait(TICK) and not self._broken:
            self._look()
            if len(self._members) > PROCESSES:
                self._broken = f"it started more than {PROCESSES} processes"
            if sum(map(_resident, self._members)) > isolation.MEMORY:
                self._broken = f"it took more than {isolation.MEMORY / 2**30:.1f} GiB of memory"
            free = _free_memory()  # not all that it takes counts for its processes, as what waits in a socket
            if free < LEAST and self._free - free > isolation.MEMORY // 8:
                self._broken = f"while it ran, the machine had only {free / 2**30:.1f} GiB of memory left"
        if self._broken:
            self._kill()

    def close(self) -> None:
        """End all its processes, and wait until they are gone."""
        self._left.set()
        self._look()
        self._kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:  # one that left its session may hold the other end
                stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST)
        until = time.monotonic() + LAST
        while any(map(_runs, self._members)) and time.monotonic() < until:
            time.sleep(0.01)

    def _look(self) -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            self._members = [process, *process.children(recursive=True)]

    def _kill(self) -> None:
        """Kill its processes: the first takes its namespace with it, where it has one."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in self._members:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def run_sandboxed(name: str, command: Sequence[str], read: Sequence[Path]) -> Iterator[SandboxedProcess]:
    """Run `command` in a scratch of its own, where it sees the system's programs and what may be `read`.

    Nothing of it remains when this is left. Errors call it `name`.
    """
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            isolation.shut_in(isolation.find_way(), command, read, Path(directory)),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=isolation.environment(Path(directory)),
            cwd="/",
            start_new_session=True,
        )
        for stream in (process.stdin, process.stderr):
            os.set_blocking(_descriptor(stream), False)
        sandbox = SandboxedProcess(name, process)
        watcher = threading.Thread(target=sandbox.watch, daemon=True)
        watcher.start()
        try:
            yield sandbox
        finally:
            sandbox.close()
            watcher.join()


def _send(descriptor: int, waiting: bytes) -> bytes:
    """Write what can be written; returns what is left."""
    try:
        return waiting[os.write(descriptor, waiting) :]
    except BrokenPipeError:  # its output tells how it ended
        return b""


def _runs(process: psutil.Process) -> bool:
    """Whether it is alive: one that waits for the system's first process to take note of its end is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _free_memory() -> int:
    return int(psutil.virtual_memory().available)


def _descriptor(stream: IO[bytes] | None) -> int:
    assert stream
    return stream.fileno()
