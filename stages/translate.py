"""Translate $TEXT, or each line of standard input, with a published model: MODEL_DIRECTORY.

The output has a line for each line of the input. This runs in each of NPROC processes. The main process reads and
writes.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Never

from tqdm import tqdm

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import TARGETS, expected_processes, fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.seq2seq.terms import Glossary, translate_with_terms
from pipeline.seq2seq.translator import BEAM_SIZE, LENGTH_PENALTY, Translator, in_order

# The number of lines that are read and decoded together. With a beam of 5 they make about 40 batches, so that each of 8
# processes has 5. It does not depend on the number of processes, because other batches round their scores differently.
BLOCK_LINES = 4096

SHOWN_LINES = 10  # numbers of lines in a message

Advance = Callable[[int], object]  # called with the number of lines translated since the last call


def translate() -> None:
    directory = Path(sys.argv[1])
    open_artifact(directory, TARGETS[directory.name])
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    processes = expected_processes()
    if "TEXT" not in os.environ and sys.stdin.isatty() and os.environ.get("RANK", "0") == "0":
        print("translate: type a sentence, then Enter; Ctrl-D ends", file=sys.stderr)
    with _progress() as bar:
        if "TERMS" in os.environ:
            blocks = with_terms(directory, processes, bar.update)
        elif processes == 1:
            blocks = _translate_alone(directory, bar.update)
        else:
            blocks = _translate_together(directory, processes, bar.update)
        for translations in blocks:
            with tqdm.external_write_mode():  # the terminal may show both the bar and the translations
                for translation in translations:
                    print(translation)
                sys.stdout.flush()


def _progress() -> "tqdm[Never]":
    """Return a progress bar on standard error. It is hidden unless that is a terminal and a file or pipe is read."""
    is_typed = "TEXT" in os.environ or sys.stdin.isatty() or os.environ.get("RANK", "0") != "0"
    total = None if is_typed else count_lines(sys.stdin.fileno())
    return tqdm(total=total, unit=" lines", desc="translate", disable=True if is_typed else None, file=sys.stderr)


def count_lines(file: int) -> int | None:
    """Return the number of lines from a file's position to its end; None for a pipe or the like. The position stays."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        return None
    position, lines, last = os.lseek(file, 0, os.SEEK_CUR), 0, b"\n"
    while block := os.pread(file, 1 << 20, position):
        position, lines, last = position + len(block), lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


def read_blocks() -> Iterator[list[str]]:
    """Yield blocks of lines. From a terminal, a block is a single line, otherwise many lines."""
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


def _translate_alone(directory: Path, advance: Advance) -> Iterator[list[str]]:
    translator = Translator.load(directory)
    for lines in read_blocks():
        translations = []
        for batch in translator.translate_share(lines, BEAM_SIZE, LENGTH_PENALTY):
            translations += batch
            advance(len(batch))
        yield [translation.text for translation in in_order(translations, len(lines))]


def with_terms(directory: Path, processes: int, advance: Advance) -> Iterator[list[str]]:
    """Yield translations with the glossary that TERMS names, line by line. At the end, name lines that lack a term."""
    if processes > 1:
        raise UserError(f"TERMS: got NPROC={processes}, expected one process with a glossary; leave NPROC out")
    glossary, translator = Glossary.load(Path(os.environ["TERMS"])), Translator.load(directory)
    lacking = []
    for number, line in enumerate(chain.from_iterable(read_blocks()), start=1):
        translation = translate_with_terms(translator, glossary, line)
        if not glossary.is_obeyed(line, translation):
            lacking.append(number)
        yield [translation]
        advance(1)
    if lacking:
        shown = ", ".join(map(str, lacking[:SHOWN_LINES])) + (", ..." if len(lacking) > SHOWN_LINES else "")
        tqdm.write(f"translate: {len(lacking):,} lines lack a term of the glossary: {shown}", file=sys.stderr)


def _translate_together(directory: Path, processes: int, advance: Advance) -> Iterator[list[str]]:
    """Yield translations, block by block, in the main process. Other processes help to translate but yield nothing."""
    from pipeline.processes import join_processes
    from pipeline.seq2seq.decoding import (  # they import accelerate, which one process does not need
        hand_out,
        translate_all,
    )

    accelerator = join_processes("fp32", processes)
    translator = Translator.load(directory, accelerator.device)
    for lines in hand_out(read_blocks(), accelerator):
        translations = translate_all(translator, lines, accelerator, advance=advance)
        if accelerator.is_main_process:
            yield [translation.text for translation in translations]


if __name__ == "__main__":
    fail_clearly(translate)
