"""Read a text file line by line: UTF-8, perhaps compressed, with LF or CRLF at the end of each line.

Nothing else ends a line. Python's text mode and `str.splitlines` also break lines at a lone CR, at U+2028, U+0085 and
form feeds, which stand inside the sentences of crawled text and would shift line n of one file against line n of the
other.
"""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...plumbing.errors import UserError

COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def read_lines(file: Path, encoding: str = "utf-8") -> Iterator[str]:
    """Yield each line without its end and without a byte order mark; a lone CR in it is a space.

    Raises UserError, with the number of the line, for bytes of another encoding.
    """
    try:
        with COMPRESSED.get(file.suffix.lower(), open)(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                text = _decoded(line, encoding, file, number)
                if number == 1:
                    _check_ends(text, file)
                    text = text.removeprefix("\ufeff")
                yield text.removesuffix("\n").removesuffix("\r").replace("\r", " ")
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{file} could not be read: {error}; is it damaged?") from None


def _decoded(line: bytes, encoding: str, file: Path, number: int) -> str:
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if number == 1 and (line.startswith(marks) or b"\0" in line):
        raise UserError(f"{file}, line 1: this is UTF-16, or no text; run: iconv -f UTF-16 -t UTF-8 {file} > NEW_FILE")
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise UserError(
            f"{file}, line {number}: byte 0x{byte:02x} is not {encoding.upper()}; convert the file, e.g. with iconv"
        ) from None


def _check_ends(first: str, file: Path) -> None:
    if not first.endswith("\n") and "\r" in first.rstrip("\r"):
        raise UserError(
            f"{file}: its lines end in CR alone, as on old Macs; run: tr '\\r' '\\n' < {file} > NEW_FILE, and use that"
        )
