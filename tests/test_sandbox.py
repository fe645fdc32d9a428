"""Programs that break out, never end, eat memory or flood, run in a sandbox: none gets more than it may.

Limits are tried with and without namespaces; what only namespaces give is tried where this system offers them.
"""

import contextlib
import errno
import json
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.registry.sandbox import isolation, process
from pipeline.registry.sandbox.isolation import AS_NOBODY, AS_USER, PYTHON, Way
from pipeline.registry.sandbox.process import Misbehaviour, SandboxedProcess, run_sandboxed
from pipeline.registry.sandbox.system_calls import system_call_filter

HERE = Path(__file__).resolve()
NAMES = {"nobody": AS_NOBODY, "namespace": AS_USER}
WAYS = [pytest.param(way, id=name) for name, way in NAMES.items() if not isolation.obstacle(way)]
CLONE = {"x86_64": 56, "aarch64": 220}  # the system call
NONE = pytest.param(None, id="none")
SKIPPED = pytest.param(None, id="none", marks=pytest.mark.skip(reason="this system offers no namespaces"))
isolated = pytest.mark.parametrize("way", WAYS or [SKIPPED], indirect=True)
both = pytest.mark.parametrize("way", [*WAYS[:1], NONE], indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way | None:
    """Shut programs in so, and in no other way."""
    found: Way | None = request.param
    monkeypatch.setattr(isolation, "find_way", lambda: found)
    return found


@contextlib.contextmanager
def program(code: str, *read: Path) -> Iterator[SandboxedProcess]:
    """A program that has all that these tests' programs need."""
    begin = "import json, os, socket, subprocess, sys, time; sys.stdin.readline()\n"
    with run_sandboxed("it", [PYTHON, "-I", "-S", "-c", begin + code], read) as running:
        yield running


def told(code: str, *read: Path) -> object:
    """What an expression is inside; an error's name where it raises one."""
    lines = (
        f"try:\n  found = {code}\nexcept Exception as error:\n  found = type(error).__name__\nprint(json.dumps(found))"
    )
    with program(lines, *read) as running:
        return json.loads(running.ask(b"", 30))


def reason(code: str, seconds: float = 30) -> str:
    with program(code) as running, pytest.raises(Misbehaviour) as caught:
        running.ask(b"", seconds)
    return caught.value.reason


def alive(marker: str) -> list[int]:
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(marker in argument for argument in each.cmdline()) and each.pid != os.getpid():
                found.append(each.pid)
    return found


def running(code: str) -> bool:
    """Whether a program has got as far as its own code."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.cmdline()[-1:] == [code]:
                return True
    return False


@both
def test_of_the_environment_it_sees_what_is_allowed(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    seen = told("dict(os.environ)")
    assert isinstance(seen, dict)
    assert "secret" not in seen.values()
    assert seen["CUDA_VISIBLE_DEVICES"] == "1"
    assert seen["HOME"] == seen["TMPDIR"] != os.environ.get("HOME")


@isolated
def test_it_sees_no_other_process(way: Way) -> None:
    assert told("[name for name in os.listdir('/proc') if name.isdigit()]") == ["1"]
    assert told(f"open('/proc/{os.getpid()}/environ').read()") == "FileNotFoundError"
    assert told(f"os.kill({os.getpid()}, 9)") == "ProcessLookupError"


@isolated
def test_it_has_no_privileges(way: Way) -> None:
    status = told(
        "[line.split() for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapBnd', 'NoNew'))]"
    )
    assert status == [["CapEff:", "0" * 16], ["CapBnd:", "0" * 16], ["NoNewPrivs:", "1"]]
    assert told("os.setuid(0)" if way is AS_NOBODY else "os.setuid(1)") in ("PermissionError", "OSError")


@isolated
def test_it_reaches_no_server_of_this_machine(way: Way) -> None:
    name = f"\0sandbox-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(name)
        abstract.listen()
        address = server.getsockname()
        socket.create_connection(address, 5).close()
        assert told(f"socket.create_connection({address!r}, 5)") == "OSError"
        assert told(f"socket.socket(socket.AF_UNIX).connect({name!r})") == "ConnectionRefusedError"


@isolated
def test_it_sees_nothing_of_home_and_project(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine x login y password z")
    assert told(f"open({str(tmp_path / '.netrc')!r}).read()") == "FileNotFoundError"
    private = [Path.home(), HERE.parents[1] / "params.yaml", Path("/etc/shadow"), Path("/run"), Path("/var")]
    seen = told(f"[[path, os.listdir(path)] for path in {list(map(str, private))!r} if os.path.exists(path)]")
    assert isinstance(seen, list)
    assert [path for path, _ in seen if path != str(Path.home())] == []
    assert all(Path(PYTHON).is_relative_to(Path(path) / name) for path, names in seen for name in names)  # on its way
    shown = Path("/usr/share")  # a home or a project in what is shown
    monkeypatch.setenv("HOME", str(shown))
    assert list(shown.iterdir())
    assert told(f"os.listdir({str(shown)!r})") == []


@isolated
def test_it_writes_to_its_scratch_alone(way: Way, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    tmp_path.chmod(0o777)
    (tmp_path / "package/code.py").write_text("")
    places = [tmp_path / "package/new", tmp_path / "package/code.py", tmp_path / "new", "/new", "/usr/new", "/dev/new"]
    write = f"""
refused = 0
for path in {[str(place) for place in places]!r}:
    try:
        open(path, 'a').write('x')
    except OSError:
        refused += 1
open(os.environ['HOME'] + '/new', 'w').write('x')
print(refused)"""
    with program(write, tmp_path / "package") as running:
        assert running.ask(b"", 30) == b"%d\n" % len(places)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["code.py", "package"]


@both
def test_what_it_writes_is_bounded(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_SCRATCH", 1 << 20)
    code = "open(os.environ['HOME'] + '/file', 'wb').write(bytes({}))"
    assert told(code.format(100_000)) == 100_000
    assert told(code.format(2 << 20)) == "OSError"


@isolated
def test_many_files_are_bounded_too(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_SCRATCH", 1 << 20)
    assert told("[open(os.environ['HOME'] + f'/{n}', 'wb').write(bytes(500_000)) for n in range(9)]") == "OSError"


@both
def test_one_that_never_ends_is_ended(way: Way | None) -> None:
    assert reason("while True: pass  # without-end", 0.5) == "it gave no answer within 0.5 s"
    assert alive("without-end") == []


@pytest.fixture
def plain_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Make sets it, a heap begins with more memory than the tests below allow."""
    monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)


@both
@pytest.mark.usefixtures("plain_heap")
def test_one_that_eats_memory_is_refused_it(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_MEMORY", 200 << 20)
    with program("print(len(bytes(300 << 20)))") as running, pytest.raises(Misbehaviour) as caught:
        running.ask(b"", 30)
    assert caught.value.reason == "it ended with status 1 instead of answering"
    assert caught.value.said.endswith("MemoryError")


@both
@pytest.mark.usefixtures("plain_heap")
def test_several_that_eat_memory_together_are_ended(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_MEMORY", 200 << 20)
    told = reason("[os.fork() for _ in range(2)]; some = b'x' * (90 << 20); time.sleep(60)  # eaters")
    assert told == "it took more than 0.2 GiB of memory"
    assert alive("eaters") == []


@both
def test_memory_that_counts_for_none_is_seen_too(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared counts for the processes that touched it, and they let it go."""
    monkeypatch.setattr(process, "MIN_FREE_MEMORY", psutil.virtual_memory().total)
    monkeypatch.setattr(isolation, "SANDBOX_MEMORY", 800 << 20)
    code = "import mmap; area = mmap.mmap(-1, 300 << 20)\nif os.fork():\n  area.write(b'x' * (300 << 20)); area.close()"
    assert reason(f"{code}\ntime.sleep(60)").startswith("while it ran, the machine had only ")


@isolated
@pytest.mark.skipif(not system_call_filter(), reason="this machine's system calls are not known")
def test_it_makes_no_namespace_no_hidden_memory_and_no_foreign_socket(way: Way) -> None:
    calls = {"unshare": (0x10000000,), "setns": (0, 0), "shmget": (0, 4096, 0o1600), "msgget": (0, 0o1600)}
    for name, arguments in calls.items():
        made = f"(c := __import__('ctypes')).CDLL(None, use_errno=True).{name}{arguments}, c.get_errno()"
        assert told(f"[{made}]") == [-1, errno.ENOSYS], name
    assert told("os.memfd_create('x')") == "OSError"
    clone = f"made = __import__('ctypes').CDLL(None).syscall({CLONE[platform.machine()]}, 0x10000000 | 17, 0, 0, 0, 0)"
    with program(f"{clone}\nprint(made) if made else os._exit(0)") as running:
        assert running.ask(b"", 30) == b"-1\n"
    foreign = [0, 17, 31, 38, 40, 44]  # none, raw packets, Bluetooth, AF_ALG, AF_VSOCK, AF_XDP
    code = f"""
found = []
for family in {foreign}:
    for make in (socket.socket, socket.socketpair):
        try:
            make(family, socket.SOCK_DGRAM)
        except OSError as error:
            found.append(error.errno)
print(json.dumps(found))"""
    with program(code) as running:
        assert json.loads(running.ask(b"", 30)) == [errno.EAFNOSUPPORT] * 2 * len(foreign)
    usual = "(socket.socket(1), socket.socket(2), socket.socket(16, 3), *socket.socketpair())"
    assert told(f"[each.close() for each in {usual}]") == [None] * 5
    threads = "__import__('concurrent.futures').futures.ThreadPoolExecutor(4).map(lambda n: n + 1, range(3))"
    assert told(f"list({threads})") == [1, 2, 3]


@both
def test_a_fork_bomb_is_ended(way: Way | None) -> None:
    assert reason("[os.fork() for _ in range(7)]; time.sleep(60)  # bomb") == "it started more than 64 processes"
    assert alive("bomb") == []


@isolated
def test_there_are_no_more_processes_than_may_be(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0 and way is AS_USER:
        pytest.skip("root's own processes are not counted")
    monkeypatch.setattr(isolation, "SANDBOX_THREADS", 20)
    code = (
        "[subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)']) for _ in range(30)] and 'all'"
    )
    assert told(code) == "BlockingIOError"


@both
def test_a_flood_of_answers_is_ended(way: Way | None) -> None:
    assert reason("while True: print('x' * 999_999, end='')") == "it answered with more than 16,777,216 bytes"
    assert reason("print('1\\n2', flush=True); time.sleep(60)") == "it gave more than one answer"


@both
def test_a_flood_of_errors_is_passed_over(way: Way | None) -> None:
    code = "[print('x' * 9_999, file=sys.stderr) for _ in range(9_999)]; print('answer')"
    with program(code) as running:
        assert running.ask(b"", 60) == b"answer\n"
    assert reason("while True: print('x' * 9_999, file=sys.stderr)", 1) == "it gave no answer within 1 s"


@both
def test_what_it_says_does_not_reach_the_terminal_as_it_is(way: Way | None) -> None:
    code = "print('\\x1b[2Jgone\\u202e', file=sys.stderr); sys.exit(3)"
    with program(code) as running, pytest.raises(Misbehaviour) as caught:
        running.ask(b"", 30)
    assert (caught.value.reason, caught.value.said) == ("it ended with status 3 instead of answering", "�[2Jgone�")


@both
def test_one_that_ends_without_an_answer_is_told(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason("pass") == "it ended with status 0 instead of answering"
    monkeypatch.setattr(process, "END_SECONDS", 0.1)
    expected = "it gave no answer within 2 s" if way else "it closed its output instead of answering"
    assert reason("os.close(1); time.sleep(60)", 2) == expected


@both
def test_an_answer_before_the_question_is_no_answer(way: Way | None) -> None:
    with program("print('first', flush=True); time.sleep(0.3); print('second', flush=True); time.sleep(60)") as running:
        assert running.ask(b"", 30) == b"first\n"
        assert running._process.stdout
        select.select([running._process.stdout], [], [], 30)
        with pytest.raises(Misbehaviour, match="it wrote to standard output before it was asked"):
            running.ask(b"", 30)


@both
def test_it_need_not_read_what_it_is_asked(way: Way | None) -> None:
    command = [PYTHON, "-I", "-S", "-c", "import time; time.sleep(60)"]
    with (
        run_sandboxed("it", command, []) as running,
        pytest.raises(Misbehaviour, match=r"it gave no answer within 1 s"),
    ):
        running.ask(b"x" * 1_000_000, 1)


@isolated
def test_no_daemon_outlives_it(way: Way) -> None:
    daemon = "[sys.executable, '-S', '-c', 'import time; time.sleep(60)  # daemon-of-it']"
    code = f"child = os.fork()\nif not child: os.setsid(), subprocess.Popen({daemon}), os._exit(0)\n"
    code += "os.waitpid(child, 0); print('done', flush=True); time.sleep(60)"
    with program(code) as running:
        running.ask(b"", 30)
        assert alive("daemon-of-it")
    assert alive("daemon-of-it") == []


@pytest.mark.parametrize("way", [None], indirect=True)
def test_one_that_holds_its_output_is_not_waited_for(way: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WATCH_SECONDS", 60)  # it is not seen before it left
    daemon = "[sys.executable, '-S', '-c', 'import time; time.sleep(8)  # holder-of-it']"
    code = f"child = os.fork()\nif not child: os.setsid(), subprocess.Popen({daemon}), os._exit(0)\n"
    with program(code + "os.waitpid(child, 0); print('done', flush=True); time.sleep(60)") as running:
        running.ask(b"", 30)
    left = alive("holder-of-it")
    assert left  # it ends by itself
    for number in left:
        os.kill(number, signal.SIGKILL)


@isolated
def test_nothing_outlives_a_review_that_is_killed(way: Way) -> None:
    code = (
        "from pathlib import Path; from pipeline.registry.sandbox import isolation, process\n"
        f"isolation.find_way = lambda: isolation.{'AS_NOBODY' if way is AS_NOBODY else 'AS_USER'}\n"
        f"with process.run_sandboxed('it', [{PYTHON!r}, '-S', '-c', 'while True: pass  # orphan-of-it'], []) as it:\n"
        "    print('started', flush=True); it.ask(b'', 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=HERE.parents[1]) as review:
        assert review.stdout
        review.stdout.readline()
        until = time.monotonic() + 20
        while not running("while True: pass  # orphan-of-it") and time.monotonic() < until:
            time.sleep(0.02)
        review.send_signal(signal.SIGKILL)
    while alive("orphan-of-it") and time.monotonic() < until:
        time.sleep(0.05)
    assert alive("orphan-of-it") == []


@isolated
def test_it_may_write_to_nothing_of_the_kernels(way: Way) -> None:
    """`core_pattern` alone would make it root outside. Asked, not tried: where this fails, nothing is written."""
    assert told("os.path.exists('/proc/sys/kernel/core_pattern')") is True
    writable = "[p for d, _, names in os.walk(top) for n in names if os.access(p := os.path.join(d, n), os.W_OK)]"
    for top in ("/proc/sys", "/sys"):
        assert told(writable.replace("top", repr(top))) == []
    others = ["/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi"]
    assert told(f"[path for path in {others} if os.access(path, os.W_OK)]") == []


@pytest.fixture
def trial() -> Iterator[None]:
    """Find out anew how this system shuts programs in, and forget what was found."""
    isolation.obstacle.cache_clear()
    yield
    isolation.obstacle.cache_clear()


@pytest.mark.usefixtures("trial")
def test_roots_programs_run_as_nobody_or_are_not_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    (site / "psutil").mkdir(parents=True)
    site.chmod(0o700)
    monkeypatch.setattr(psutil, "__file__", str(site / "psutil/__init__.py"))
    if os.geteuid() == 0 and not isolation.obstacle(AS_USER):
        assert isolation.find_way() is None
        assert isolation.isolation().startswith(
            "not isolated: a test program, run as user nobody, failed: PermissionError: [Errno 13] Permission "
            f"denied: '{site}'; review only packages that you trust"
        )
    else:
        assert isolation.find_way() in (None, AS_USER)


@isolated
@pytest.mark.usefixtures("trial")
def test_any_home_or_none_will_do(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in ("/", "/usr", "/lib", "/sys/devices", "/nonexistent", "", str(tmp_path)):
        monkeypatch.setenv("HOME", home)
        isolation.obstacle.cache_clear()
        assert isolation.obstacle(way) is None, home
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    isolation.obstacle.cache_clear()
    assert isolation.obstacle(way) is None


@pytest.mark.usefixtures("trial")
def test_why_this_system_shuts_nothing_in_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SEPARATE", ("--no-such-namespace",))
    assert "unshare" in isolation.isolation()
    assert isolation.isolation().startswith("not isolated: a test program, run ")
    isolation.obstacle.cache_clear()
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert isolation.isolation().startswith("not isolated: unshare and setpriv of util-linux not found; review only")
