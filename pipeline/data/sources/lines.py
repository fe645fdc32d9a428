"""Read a text file line by line. Lines end in LF or CRLF; the file may be compressed.

Python's text mode and `str.splitlines` also end lines at a lone CR, at U+2028, U+0085 and form feeds. Crawled text has
these inside sentences. If they ended lines, line n of the source would no longer match line n of the target.
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
FORMATS = {  # suffix: name, and a pattern of the first bytes
    ".gz": ("gzip", rb"\x1f\x8b\x08"),
    ".bz2": ("bzip2", rb"BZh[1-9]1AY&SY"),
    ".xz": ("xz", rb"\xfd7zXZ\x00"),
    ".zip": ("zip", rb"PK\x03\x04"),
    ".zst": ("zstd", rb"\x28\xb5\x2f\xfd"),
    ".parquet": ("Parquet", rb"PAR1\x15"),
}
BYTE_ORDER_MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    **{codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"},
    **{codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"},
}
HEAD = 4096  # bytes that are read to recognise the encoding


def read_lines(file: Path, encoding: str = "utf-8") -> Iterator[str]:
    """Yield each line without its line end and byte order mark, and with a space for each lone CR.

    Raise UserError if the file has another format or another encoding. For the encoding, the message names the line.
    """
    try:
        _check_format(file)
        if not file.stat().st_size:  # bz2 and lzma cannot read an empty file
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
    """Raise UserError if the file is compressed or Parquet but has another suffix."""
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
        raise UserError(f"{file}, line 1: byte 0x00 is not text; write the file again, as text in UTF-8")


def _wide_unicode(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 if the text is in one of them, with LE or BE if it has no byte order mark; else None."""
    for mark, name in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return name
    for name in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE") if 0 in head else ():
        try:
            text = codecs.getincrementaldecoder(name)().decode(head)
        except UnicodeDecodeError:
            continue
        if any(
            sign in text for sign in "\n\r{"
        ):  # every table has one of these characters, unless its bytes are decoded in the wrong order
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
        raise UserError(f"{file}: its lines end in CR only, as on old Macs; {advice}")


def _convert(file: Path, program: str) -> str:
    """Return the advice to convert the file, with the command at the end, so that it can be copied."""
    name, unpack = shlex.quote(str(file)), UNPACK.get(file.suffix.lower())
    command = f"{unpack} {name} | {program}" if unpack else f"{program} < {name}"
    return f"make a new file and use that, run: {command} > {_new_file(file)}"


def _new_file(file: Path) -> str:
    """Return a name for the converted file, which is not compressed, quoted for the shell."""
    text = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    return shlex.quote(str(text.with_stem(f"{text.stem}-new")))
