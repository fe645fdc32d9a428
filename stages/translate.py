"""Translate $TEXT, or each line of standard input, with a published model: MODEL_DIRECTORY.

The output has a line for each line of the input. Runs in each of NPROC processes; the main process reads and writes.
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

# Lines that are read and decoded together: with a beam of 5 about 40 batches, so that 8 processes have 5 each. The
# number does not depend on that of processes, because other batches round their scores differently.
BLOCK_LINES = 4096


def translate() -> None:
    directory = Path(sys.argv[1])
    open_artifact(directory, TARGETS[directory.name])
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    processes = expected_processes()
    blocks = _translate_alone(directory) if processes == 1 else _translate_together(directory, processes)
    for translations in blocks:
        for translation in translations:
            print(translation.text)
        sys.stdout.flush()


def read_blocks() -> Iterator[list[str]]:
    """Yield blocks of lines: single lines from a terminal, otherwise many at once."""
    if "TEXT" in os.environ:
        try:
            yield os.environb[b"TEXT"].decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"TEXT is not UTF-8: {error}") from None
        return
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    size = 1 if sys.stdin.isatty() else BLOCK_LINES
    try:
        while lines := [line.rstrip("\r\n") for line in islice(sys.stdin, size)]:
            yield lines
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8: {error}") from None


def _translate_alone(directory: Path) -> Iterator[list[Translation]]:
    return map(Translator.load(directory).translate, read_blocks())


def _translate_together(directory: Path, processes: int) -> Iterator[list[Translation]]:
    """Yield the translations of each block in the main process. The other processes share the work, and yield none."""
    from pipeline.processes import join_processes
    from pipeline.seq2seq.decoding import (  # they import accelerate, which one process does not need
        hand_out,
        translate_all,
    )

    accelerator = join_processes("fp32", processes)
    translator = Translator.load(directory, accelerator.device)
    for lines in hand_out(read_blocks(), accelerator):
        translations = translate_all(translator, lines, accelerator)
        if accelerator.is_main_process:
            yield translations


if __name__ == "__main__":
    fail_clearly(translate)
