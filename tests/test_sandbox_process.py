"""A program in a sandbox that never ends, takes memory, floods or breaks off is ended, and the reason is reported."""

import os
import select
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.registry.sandbox import isolation, process
from pipeline.registry.sandbox.isolation import AS_NOBODY, AS_USER, PYTHON, Way
from pipeline.registry.sandbox.process import Misbehaviour, run_sandboxed
from tests.mlflow_server import ROOT
from tests.sandboxed import alive, both, isolated, program, reason, running, told


@both
def test_files_of_a_program_are_bounded_in_size(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_SCRATCH", 1 << 20)
    code = "open(os.environ['HOME'] + '/file', 'wb').write(bytes({}))"
    assert told(code.format(100_000)) == 100_000
    assert told(code.format(2 << 20)) == "OSError"


@isolated
def test_files_of_a_program_are_bounded_together(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_SCRATCH", 1 << 20)
    assert told("[open(os.environ['HOME'] + f'/{n}', 'wb').write(bytes(500_000)) for n in range(9)]") == "OSError"


@both
def test_a_program_that_does_not_answer_in_time_is_ended(way: Way | None) -> None:
    assert reason("while True: pass  # without-end", 0.5) == "it gave no answer within 0.5 s"
    assert alive("without-end") == []


@pytest.fixture
def plain_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Make's settings of the allocator, a heap begins with more memory than these tests allow."""
    monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)


@both
@pytest.mark.usefixtures("plain_heap")
def test_a_program_gets_no_more_memory_than_the_limit(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_MEMORY", 200 << 20)
    with program("print(len(bytes(300 << 20)))") as running, pytest.raises(Misbehaviour) as caught:
        running.ask(b"", 30)
    assert caught.value.reason == "it ended with status 1 instead of answering"
    assert caught.value.said.endswith("MemoryError")


@both
@pytest.mark.usefixtures("plain_heap")
def test_processes_that_exceed_the_memory_together_are_ended(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SANDBOX_MEMORY", 200 << 20)
    told = reason("[os.fork() for _ in range(2)]; some = b'x' * (90 << 20); time.sleep(60)  # eaters")
    assert told == "it took more than 0.2 GiB of memory"
    assert alive("eaters") == []


@both
def test_memory_that_is_counted_for_no_process_is_noticed(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory counts for the processes that have used it, and these processes release it.

    The program takes ever more, because other programs of the machine may release memory at the same time.
    """
    monkeypatch.setattr(process, "MIN_FREE_MEMORY", psutil.virtual_memory().total)
    monkeypatch.setattr(isolation, "SANDBOX_MEMORY", 800 << 20)
    code = """
import mmap
for _ in range(10):
  area = mmap.mmap(-1, 300 << 20)
  if not os.fork():
    break
  area.write(b'x' * (300 << 20)); area.close(); time.sleep(1)
time.sleep(60)"""
    assert reason(code).startswith("while it ran, the machine had only ")


@both
def test_a_fork_bomb_is_ended(way: Way | None) -> None:
    assert reason("[os.fork() for _ in range(7)]; time.sleep(60)  # bomb") == "it started more than 64 processes"
    assert alive("bomb") == []


@isolated
def test_the_number_of_threads_is_limited(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_flood_on_standard_error_does_not_matter(way: Way | None) -> None:
    code = "[print('x' * 9_999, file=sys.stderr) for _ in range(9_999)]; print('answer')"
    with program(code) as running:
        assert running.ask(b"", 60) == b"answer\n"
    assert reason("while True: print('x' * 9_999, file=sys.stderr)", 1) == "it gave no answer within 1 s"


@both
def test_control_characters_are_replaced_in_what_a_program_writes(way: Way | None) -> None:
    code = "print('\\x1b[2Jgone\\u202e', file=sys.stderr); sys.exit(3)"
    with program(code) as running, pytest.raises(Misbehaviour) as caught:
        running.ask(b"", 30)
    assert (caught.value.reason, caught.value.said) == ("it ended with status 3 instead of answering", "�[2Jgone�")


@both
def test_a_program_that_ends_without_an_answer_is_reported(way: Way | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason("pass") == "it ended with status 0 instead of answering"
    monkeypatch.setattr(process, "END_SECONDS", 0.1)
    expected = "it gave no answer within 2 s" if way else "it closed its output instead of answering"
    assert reason("os.close(1); time.sleep(60)", 2) == expected


@both
def test_output_before_a_request_is_refused(way: Way | None) -> None:
    with program("print('first', flush=True); time.sleep(0.3); print('second', flush=True); time.sleep(60)") as running:
        assert running.ask(b"", 30) == b"first\n"
        assert running._process.stdout
        select.select([running._process.stdout], [], [], 30)
        with pytest.raises(Misbehaviour, match="it wrote to standard output before it was asked"):
            running.ask(b"", 30)


@both
def test_a_program_need_not_read_the_request(way: Way | None) -> None:
    command = [PYTHON, "-I", "-S", "-c", "import time; time.sleep(60)"]
    with (
        run_sandboxed("it", command, []) as running,
        pytest.raises(Misbehaviour, match=r"it gave no answer within 1 s"),
    ):
        running.ask(b"x" * 1_000_000, 1)


@isolated
def test_daemons_of_a_program_are_ended_with_it(way: Way) -> None:
    daemon = "[sys.executable, '-S', '-c', 'import time; time.sleep(60)  # daemon-of-it']"
    code = f"child = os.fork()\nif not child: os.setsid(), subprocess.Popen({daemon}), os._exit(0)\n"
    code += "os.waitpid(child, 0); print('done', flush=True); time.sleep(60)"
    with program(code) as running:
        running.ask(b"", 30)
        assert alive("daemon-of-it")
    assert alive("daemon-of-it") == []


@pytest.mark.parametrize("way", [None], indirect=True)
def test_a_process_that_keeps_the_output_open_is_not_waited_for(way: None, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_no_program_outlives_a_review_that_is_killed(way: Way) -> None:
    code = (
        "from pathlib import Path; from pipeline.registry.sandbox import isolation, process\n"
        f"isolation.find_way = lambda: isolation.{'AS_NOBODY' if way is AS_NOBODY else 'AS_USER'}\n"
        f"with process.run_sandboxed('it', [{PYTHON!r}, '-S', '-c', 'while True: pass  # orphan-of-it'], []) as it:\n"
        "    print('started', flush=True); it.ask(b'', 60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as review:
        assert review.stdout
        review.stdout.readline()
        until = time.monotonic() + 20
        while not running("while True: pass  # orphan-of-it") and time.monotonic() < until:
            time.sleep(0.02)
        review.send_signal(signal.SIGKILL)
    while alive("orphan-of-it") and time.monotonic() < until:
        time.sleep(0.05)
    assert alive("orphan-of-it") == []
