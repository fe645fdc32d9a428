"""Run an untrusted program within limits, without access to the user's files, secrets, network and processes.

docs/threat-model.md lists what the program may do. isolation.py confines it. Each request and each answer is one line.
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

MAX_PROCESSES = 64
MIN_FREE_MEMORY = psutil.virtual_memory().total // 16  # bytes that should stay free on the machine
MAX_ANSWER_BYTES = 16 << 20  # in one line
READ_BYTES = 1 << 16
STDERR_BYTES = 8 << 10  # the last bytes of standard error, which are kept
STDERR_LINES = 10  # the last lines of standard error, which are shown
WATCH_SECONDS = 0.5  # between two checks of the program's memory and processes
END_SECONDS = 10.0  # for the program's processes to end


class Misbehaviour(UserError):
    """Raised when a program ends, breaks a limit or gives a wrong answer."""

    def __init__(self, name: str, reason: str, said: str = "") -> None:
        super().__init__(f"{name} does not load and translate in a fresh process: {reason}\n{said}".rstrip())
        self.name, self.reason, self.said = name, reason, said


@dataclass
class SandboxedProcess:
    """A running program. Its answers are untrusted lines, of bounded size and in bounded time."""

    name: str  # for errors
    _process: subprocess.Popen[bytes]
    _said: bytes = b""  # the last bytes of standard error
    _members: list[psutil.Process] = field(default_factory=list)  # all its processes at the last check
    _broken: str = ""  # the limit that it broke, in words
    _free: int = field(default_factory=lambda: _free_memory())  # at its start
    _left: threading.Event = field(default_factory=threading.Event)

    def ask(self, request: bytes, seconds: float) -> bytes:
        """Send a line and return the answer. Raise Misbehaviour unless exactly one line comes within `seconds`."""
        stdin, stdout, stderr = map(_descriptor, (self._process.stdin, self._process.stdout, self._process.stderr))
        until = time.monotonic() + seconds
        waiting, answer = request + b"\n", bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            if ready.select(0) and os.read(stdout, 1):
                self.fail("it wrote to standard output before it was asked")
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
                        answer += os.read(stdout, READ_BYTES) or self._end()
                    elif not self._listen():
                        ready.unregister(stderr)
                if not waiting and stdin in ready.get_map():
                    ready.unregister(stdin)
                if len(answer) > MAX_ANSWER_BYTES:
                    self.fail(f"it answered with more than {MAX_ANSWER_BYTES:,} bytes")
        if b"\n" in answer[:-1]:
            self.fail("it gave more than one answer")
        return bytes(answer)

    def fail(self, reason: str) -> NoReturn:
        """Raise Misbehaviour with the last lines that the program wrote to standard error."""
        for _ in range(STDERR_BYTES):  # no more, because the program may never stop writing
            if not self._listen():
                break
        text = self._said.decode(errors="replace")
        said = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
        raise Misbehaviour(self.name, self._broken or reason, "\n".join(said.splitlines()[-STDERR_LINES:]))

    def _end(self) -> NoReturn:
        """Raise Misbehaviour, with the exit status, for a program that closed its output."""
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.fail("it closed its output instead of answering")
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.fail(f"it {how} instead of answering")

    def _listen(self) -> bool:
        """Read what the program wrote on standard error. Return whether there may be more."""
        try:
            chunk = os.read(_descriptor(self._process.stderr), READ_BYTES)
        except BlockingIOError:
            return False
        self._said = (self._said + chunk)[-STDERR_BYTES:]
        return bool(chunk)

    def watch(self) -> None:
        """Check all processes of the program until it is closed. Kill them if they are too many or take much memory."""
        while not self._left.wait(WATCH_SECONDS) and not self._broken:
            self._look()
            if len(self._members) > MAX_PROCESSES:
                self._broken = f"it started more than {MAX_PROCESSES} processes"
            if sum(map(_resident, self._members)) > isolation.SANDBOX_MEMORY:
                self._broken = f"it took more than {isolation.SANDBOX_MEMORY / 2**30:.1f} GiB of memory"
            free = _free_memory()  # some memory belongs to no process, such as data in a socket
            if free < MIN_FREE_MEMORY and self._free - free > isolation.SANDBOX_MEMORY // 8:
                self._broken = f"while it ran, the machine had only {free / 2**30:.1f} GiB of memory left"
        if self._broken:
            self._kill()

    def close(self) -> None:
        """Kill all processes of the program and wait until they have ended."""
        self._left.set()
        self._look()
        self._kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:  # a process that left the session may keep the other end open
                stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        until = time.monotonic() + END_SECONDS
        while any(map(_runs, self._members)) and time.monotonic() < until:
            time.sleep(0.01)

    def _look(self) -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            self._members = [process, *process.children(recursive=True)]

    def _kill(self) -> None:
        """Kill the program's processes. If it has a namespace, the namespace ends with the first process."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in self._members:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def run_sandboxed(name: str, command: Sequence[str], read: Sequence[Path]) -> Iterator[SandboxedProcess]:
    """Run `command`, confined. It sees the system's programs, the paths in `read`, and a scratch directory.

    At the end of the block, its processes are killed and its files are removed. Error messages call it `name`.
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
    """Write as much as the pipe accepts. Return the rest."""
    try:
        return waiting[os.write(descriptor, waiting) :]
    except BrokenPipeError:  # reading its output reports how it ended
        return b""


def _runs(process: psutil.Process) -> bool:
    """Return whether a process is alive. A zombie is not."""
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
