"""`make translate` writes a line for each line that it reads, and passes on text as it was typed."""

import contextlib
import subprocess
import threading
from pathlib import Path
from typing import IO

import pytest

from tests.project import Finished, Project


def test_translate_without_a_model_says_what_to_type(project: Project) -> None:
    run = project.make("translate", "TEXT=Tha felp.")
    assert (run.returncode, run.stdout) == (2, "")
    assert "error: build/smoke/model/manifest.json is missing; run: make train EXP=smoke" in run.stderr


def test_translate_prints_one_line_for_each_line(finished: Finished) -> None:
    sentences = ["Tha felp walpes tha lond.", "", "Tha tisk bindes tha plum noly.", "   "]
    lines = finished.make("translate", stdin="\n".join(sentences)).stdout.split("\n")
    assert [bool(line) for line in lines] == [True, False, True, False, False]
    assert finished.make("translate", f"TEXT={sentences[0]}").stdout == lines[0] + "\n"


def test_the_text_reaches_translate_as_it_was_typed(finished: Finished, tmp_path: Path) -> None:
    """If Make or a shell interpreted a part of it, the translation would differ from that of standard input."""
    text = """It's "$HOME" `echo x` $(shell echo y) $$ ${PATH} \\n # % * 100 € ; tha felp"""
    typed = finished.make("translate", f"TEXT={text}")
    assert typed.returncode == 0
    assert typed.stdout == finished.make("translate", stdin=text + "\n").stdout
    show = tmp_path / "show.mk"
    show.write_text('include Makefile\nshow: ; @printf "%s" "$$TEXT"\n', encoding="utf-8")
    assert finished.make("-f", str(show), "show", f"TEXT={text}").stdout == text


@pytest.mark.slow
def test_a_reader_that_ends_first_causes_no_error(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    lines = "Tha felp walpes tha lond.\n" * 9000  # more than one block, and than a pipe holds
    for command, shown in (("translate", 1), ("status", 0)):
        make = subprocess.Popen(
            ["make", command], cwd=project.root, env=project.environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert make.stdin
        assert make.stdout
        assert make.stderr
        feeder = threading.Thread(target=feed, args=(make.stdin, lines.encode()))
        feeder.start()
        for _ in range(shown):
            assert make.stdout.readline().endswith(b"\n")
        make.stdout.close()
        assert (make.wait(timeout=120), make.stderr.read()) == (0, b"")
        feeder.join()


def feed(pipe: IO[bytes], text: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(text)


def test_input_that_is_not_utf8_is_an_error(finished: Finished) -> None:
    run = subprocess.run(
        ["make", "translate"], cwd=finished.root, env=finished.environment(), input=b"a\n\xff\n", capture_output=True
    )
    assert run.returncode == 2
    assert b"error: standard input is not UTF-8" in run.stderr
    assert b"Traceback" not in run.stderr
