"""Read a text file line by line: UTF-8, perhaps compressed, with LF or CRLF at the end of each line.

Nothing else ends a line. Python's text mode and `str.splitlines` also break lines at a lone CR, at U+2028, U+0085 and
form feeds, which stand inside the sentences of crawled text and would shift line n of one file against line n of the
other.
"""

import bz2
import codecs
import gzip
import lzma
import re
import shlex
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...plumbing.errors import UserError

COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
UNPACK = {".gz": "gzip -dc <", ".bz2": "bzip2 -dc <", ".xz": "xz -dc <", ".zip": "unzip -p", ".zst": "zstd -dc <"}
FORMATS = {  # suffix: name, and how such a file begins
    ".gz": ("gzip", rb"\x1f\x8b\x08"),
    ".bz2": ("bzip2", rb"BZh[1-9]1AY&SY"),
    ".xz": ("xz", rb"\xfd7zXZ\x00"),
    ".zip": ("zip", rb"PK\x03\x04"),
    ".zst": ("zstd", rb"\x28\xb5\x2f\xfd"),
    ".parquet": ("Parquet", rb"PAR1\x15"),
}
MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    **{codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"},
    **{codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"},
}
HEAD = 4096  # bytes from which the encoding is told


def read_lines(file: Path, encoding: str = "utf-8") -> Iterator[str]:
    """Yield each line without its end and without a byte order mark; a lone CR in it is a space.

    Raises UserError for a file of another format, and for bytes of another encoding, with the number of the line.
    """
    try:
        _check_format(file)
        if not file.stat().st_size:  # bz2 and lzma refuse it
            return
        with COMPRESSED.get(file.suffix.lower(), open)(file, "rb") as lines:
            _check_unicode(lines.read(HEAD), file)
            lines.seek(0)
            for number, line in enumerate(lines, 1):
                text = _decoded(line, encoding, file, number)
                if number == 1:
                    _check_ends(text, file)
                    text = text.removeprefix("\ufeff")
                yield text.removesuffix("\n").removesuffix("\r").replace("\r", " ")
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{file} could not be read: {error}; is it damaged?") from None


def _check_format(file: Path) -> None:
    """Raise UserError if the file is compressed, or Parquet, and its suffix does not say so."""
    with open(file, "rb") as stored:
        start = stored.read(16)
    suffix = file.suffix.lower()
    found, name = next(((found, name) for found, (name, magic) in FORMATS.items() if re.match(magic, start)), ("", ""))
    if found in ("", suffix):
        return
    text = file.with_suffix("") if suffix in COMPRESSED else file
    if found == ".parquet":
        advice = f"rename it, run: {shlex.join(['mv', str(file), str(text.with_suffix(found))])}"
    elif found in COMPRESSED:
        advice = f"rename it, run: {shlex.join(['mv', str(file), f'{text}{found}'])}"
    else:
        advice = f"unpack it, run: {UNPACK[found]} {shlex.quote(str(file))} > {_new_file(file)}"
    raise UserError(f"{file}: this is {name}; {advice}")


def _check_unicode(head: bytes, file: Path) -> None:
    if name := _wide_unicode(head):
        raise UserError(f"{file}: this is {name}; {_convert(file, f'iconv -f {name} -t UTF-8')}")
    if 0 in head.partition(b"\n")[0]:
        raise UserError(f"{file}, line 1: byte 0x00 is not text; write the file anew, as text in UTF-8")


def _wide_unicode(head: bytes) -> str | None:
    """UTF-16 or UTF-32, if the text is in one of them, with the order of its bytes if it has no mark that tells it."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    for name in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE") if 0 in head else ():
        try:
            text = codecs.getincrementaldecoder(name)().decode(head)
        except UnicodeDecodeError:
            continue
        if any(sign in text for sign in "\n\r{"):  # a table has one of them; bytes in the wrong order do not
            return name
    return None


def _decoded(line: bytes, encoding: str, file: Path, number: int) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise UserError(
            f"{file}, line {number}: byte 0x{byte:02x} is not {encoding.upper()}; convert the file, e.g. with iconv"
        ) from None


def _check_ends(first: str, file: Path) -> None:
    if not first.endswith("\n") and "\r" in first.rstrip("\r"):
        advice = _convert(file, r"tr '\r' '\n'")
        raise UserError(f"{file}: its lines end in CR alone, as on old Macs; {advice}")


def _convert(file: Path, program: str) -> str:
    """Advise to make a new text file with the program; the command stands last, to be pasted."""
    name, unpack = shlex.quote(str(file)), UNPACK.get(file.suffix.lower())
    command = f"{unpack} {name} | {program}" if unpack else f"{program} < {name}"
    return f"make a new file and use that, run: {command} > {_new_file(file)}"


def _new_file(file: Path) -> str:
    """A name for the text of the file, quoted for the shell; it is not compressed."""
    text = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    return shlex.quote(str(text.with_stem(f"{text.stem}-new")))
