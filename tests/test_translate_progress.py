"""The output while a file is translated: a progress bar on a terminal, and only translations elsewhere."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from stages.translate import count_lines
from tests.project import ROOT
from tests.published import SENTENCES

COMMAND = [sys.executable, "-m", "stages.translate"]


def in_a_terminal(model: Path, stdin: int, stdout: int | None = None) -> tuple[str, str]:
    """Return the output of `stages.translate`, and what the terminal shows that is its standard error."""
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 100))
    process = subprocess.Popen(
        [*COMMAND, str(model)], cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE if stdout is None else end, stderr=end
    )
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux tells so that the other end is closed
        pass
    printed = process.stdout.read() if process.stdout else b""
    assert process.wait() == 0
    os.close(terminal)
    return printed.decode(), shown.decode()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join([*SENTENCES * 4, "", "open | the new file"]), encoding="utf-8")
    return path


def test_a_terminal_shows_how_much_of_a_file_is_translated(tiny_model: Path, text: Path) -> None:
    with open(text, "rb") as file:
        quiet = subprocess.run([*COMMAND, str(tiny_model)], cwd=ROOT, stdin=file, capture_output=True, check=True)
    with open(text, "rb") as file:
        printed, shown = in_a_terminal(tiny_model, file.fileno())
    assert quiet.stderr == b""
    assert printed == quiet.stdout.decode()
    assert printed.count("\n") == 14
    assert re.search(r"translate:   0%.*\b0/14 ", shown)
    assert re.search(r"translate: 100%.*\b14/14 .* lines/s\]", shown)


def test_of_a_pipe_it_shows_how_many_lines_were_translated(tiny_model: Path, text: Path) -> None:
    with subprocess.Popen(["cat", text], stdout=subprocess.PIPE) as pipe:
        assert pipe.stdout is not None
        printed, shown = in_a_terminal(tiny_model, pipe.stdout.fileno())
    assert printed.count("\n") == 14
    assert re.search(r"translate: 14 lines \[", shown)
    assert "%" not in shown


def test_the_bar_leaves_the_translations_whole_in_the_same_terminal(tiny_model: Path, text: Path) -> None:
    with open(text, "rb") as file:
        expected, _ = in_a_terminal(tiny_model, file.fileno())
        file.seek(0)
        _, shown = in_a_terminal(tiny_model, file.fileno(), stdout=1)
    lines = [line.rpartition("\r")[2] for line in shown.split("\r\n")]
    assert [line for line in lines if "translate:" not in line][: len(expected.splitlines())] == expected.splitlines()


def test_whoever_types_is_told_what_to_do(tiny_model: Path) -> None:
    keyboard, end = pty.openpty()
    os.write(keyboard, b"open the file\n\x04")
    printed, shown = in_a_terminal(tiny_model, end)
    os.close(keyboard)
    os.close(end)
    assert printed.count("\n") == 1
    assert shown == "translate: type a sentence, then Enter; Ctrl-D ends\r\n"


@pytest.mark.parametrize(("content", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\r\n\nb", 3)], ids=ascii)
def test_lines_are_counted_from_where_the_file_stands(tmp_path: Path, content: bytes, lines: int) -> None:
    (tmp_path / "text").write_bytes(b"read already\n" + content)
    with open(tmp_path / "text", "rb", buffering=0) as file:
        file.read(13)
        assert count_lines(file.fileno()) == lines
        assert file.read() == content
