"""What a program in a sandbox can see and reach: its scratch directory, the paths that it may read, and no more."""

import errno
import json
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.registry.sandbox import isolation
from pipeline.registry.sandbox.isolation import AS_NOBODY, AS_USER, PYTHON, Way
from pipeline.registry.sandbox.system_calls import system_call_filter
from tests.mlflow_server import ROOT
from tests.sandboxed import CLONE, both, isolated, program, told


@both
def test_a_program_gets_only_the_allowed_variables(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    allowed = {"CUDA_VISIBLE_DEVICES", "MALLOC_TOP_PAD_"}
    for name in allowed:
        monkeypatch.setenv(name, "1")
    seen = told("dict(os.environ)")
    assert isinstance(seen, dict)
    assert "secret" not in seen.values()
    assert {name for name in allowed if seen.get(name) == "1"} == allowed
    assert seen["HOME"] == seen["TMPDIR"] != os.environ.get("HOME")


@isolated
def test_a_program_sees_no_other_process(way: Way) -> None:
    assert told("[name for name in os.listdir('/proc') if name.isdigit()]") == ["1"]
    assert told(f"open('/proc/{os.getpid()}/environ').read()") == "FileNotFoundError"
    assert told(f"os.kill({os.getpid()}, 9)") == "ProcessLookupError"


@isolated
def test_a_program_has_no_privileges(way: Way) -> None:
    status = told(
        "[line.split() for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapBnd', 'NoNew'))]"
    )
    assert status == [["CapEff:", "0" * 16], ["CapBnd:", "0" * 16], ["NoNewPrivs:", "1"]]
    assert told("os.setuid(0)" if way is AS_NOBODY else "os.setuid(1)") in ("PermissionError", "OSError")


@isolated
def test_a_program_cannot_connect_to_servers_of_this_machine(way: Way) -> None:
    name = f"\0sandbox-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(name)
        abstract.listen()
        address = server.getsockname()
        socket.create_connection(address, 5).close()
        assert told(f"socket.create_connection({address!r}, 5)") == "OSError"
        assert told(f"socket.socket(socket.AF_UNIX).connect({name!r})") == "ConnectionRefusedError"


@isolated
def test_a_program_cannot_read_home_and_project(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine x login y password z")
    assert told(f"open({str(tmp_path / '.netrc')!r}).read()") == "FileNotFoundError"
    private = [Path.home(), ROOT / "params.yaml", Path("/etc/shadow"), Path("/run"), Path("/var")]
    seen = told(f"[[path, os.listdir(path)] for path in {list(map(str, private))!r} if os.path.exists(path)]")
    assert isinstance(seen, list)
    assert [path for path, _ in seen if path != str(Path.home())] == []
    assert all(Path(PYTHON).is_relative_to(Path(path) / name) for path, names in seen for name in names)  # on its way
    shown = Path("/usr/share")  # a home or a project in what is shown
    monkeypatch.setenv("HOME", str(shown))
    assert list(shown.iterdir())
    assert told(f"os.listdir({str(shown)!r})") == []


@isolated
def test_a_program_can_write_only_to_its_scratch(way: Way, tmp_path: Path) -> None:
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


@isolated
@pytest.mark.skipif(not system_call_filter(), reason="this machine's system calls are not known")
def test_a_program_cannot_make_namespaces_uncounted_memory_or_other_sockets(way: Way) -> None:
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


@isolated
def test_a_program_cannot_write_to_the_kernels_files(way: Way) -> None:
    """Writing to `core_pattern` would make the program root outside. So the test only asks whether it may write."""
    assert told("os.path.exists('/proc/sys/kernel/core_pattern')") is True
    writable = "[p for d, _, names in os.walk(top) for n in names if os.access(p := os.path.join(d, n), os.W_OK)]"
    for top in ("/proc/sys", "/sys"):
        assert told(writable.replace("top", repr(top))) == []
    others = ["/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi"]
    assert told(f"[path for path in {others} if os.access(path, os.W_OK)]") == []


@pytest.fixture
def trial() -> Iterator[None]:
    """Find out again how this system confines programs, and forget the result afterwards."""
    isolation.obstacle.cache_clear()
    yield
    isolation.obstacle.cache_clear()


@pytest.mark.usefixtures("trial")
def test_programs_of_root_run_as_nobody_or_are_not_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_isolation_works_with_any_home_or_none(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in ("/", "/usr", "/lib", "/sys/devices", "/nonexistent", "", str(tmp_path)):
        monkeypatch.setenv("HOME", home)
        isolation.obstacle.cache_clear()
        assert isolation.obstacle(way) is None, home
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    isolation.obstacle.cache_clear()
    assert isolation.obstacle(way) is None


@pytest.mark.usefixtures("trial")
def test_the_reason_is_told_where_isolation_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SEPARATE", ("--no-such-namespace",))
    assert "unshare" in isolation.isolation()
    assert isolation.isolation().startswith("not isolated: a test program, run ")
    isolation.obstacle.cache_clear()
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert isolation.isolation().startswith("not isolated: unshare and setpriv of util-linux not found; review only")
