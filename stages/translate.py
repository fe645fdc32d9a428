"""Translate $TEXT, or standard input, with a published model: MODEL_DIRECTORY. One line in, one line out, no other."""

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipeline.artifacts import open_artifact
from pipeline.errors import UserError
from pipeline.translator import Translator
from stages.command import TARGETS, fail_clearly

LINES = 256  # read before the first is written, so that sentences of like length can share a batch


def translate() -> None:
    directory = Path(sys.argv[1])
    open_artifact(directory, TARGETS[directory.name])
    translator = Translator.load(directory)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for lines in read_lines():
        for translation in translator.translate(lines):
            print(translation.text)
        sys.stdout.flush()


def read_lines() -> Iterator[list[str]]:
    """Line by line as they are typed, otherwise many at once; without the ends of lines."""
    if "TEXT" in os.environ:
        yield os.environ["TEXT"].split("\n")
        return
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    size = 1 if sys.stdin.isatty() else LINES
    try:
        while lines := [line.rstrip("\r\n") for line in islice(sys.stdin, size)]:
            yield lines
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8: {error}") from None


if __name__ == "__main__":
    fail_clearly(translate)
