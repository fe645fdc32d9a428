"""Translate $TEXT, or standard input, with a published model: MODEL_DIRECTORY. One line in, one line out, no other.

One process of NPROC: the main one reads and writes.
"""

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import TARGETS, expected_processes, fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.seq2seq.translator import Translation, Translator

# Read before the first is written, and decoded together: some 40 batches of a beam of 5, five each for 8 processes.
# The same for every number of processes, because other blocks make other batches, whose scores round differently.
LINES = 4096


def translate() -> None:
    directory = Path(sys.argv[1])
    open_artifact(directory, TARGETS[directory.name])
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    processes = expected_processes()
    blocks = _alone(directory) if processes == 1 else _together(directory, processes)
    for translations in blocks:
        for translation in translations:
            print(translation.text)
        sys.stdout.flush()


def read_lines() -> Iterator[list[str]]:
    """Line by line as they are typed, otherwise many at once; without the ends of lines."""
    if "TEXT" in os.environ:
        try:
            yield os.environb[b"TEXT"].decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"TEXT is not UTF-8: {error}") from None
        return
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    size = 1 if sys.stdin.isatty() else LINES
    try:
        while lines := [line.rstrip("\r\n") for line in islice(sys.stdin, size)]:
            yield lines
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8: {error}") from None


def _alone(directory: Path) -> Iterator[list[Translation]]:
    return map(Translator.load(directory).translate, read_lines())


def _together(directory: Path, processes: int) -> Iterator[list[Translation]]:
    """Block by block in the main process; the others translate along and have nothing to say."""
    from pipeline.processes import join_processes
    from pipeline.seq2seq.decoding import (  # these import accelerate, which one process does not need
        hand_out,
        translate_all,
    )

    accelerator = join_processes("fp32", processes)
    translator = Translator.load(directory, accelerator.device)
    for lines in hand_out(read_lines(), accelerator):
        translations = translate_all(translator, lines, accelerator)
        if accelerator.is_main_process:
            yield translations


if __name__ == "__main__":
    fail_clearly(translate)
