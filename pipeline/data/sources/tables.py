"""Read the sentence pairs of one local file: Parquet, JSON, CSV, TSV, or two aligned text files.

Values must be text. Text is never converted to a number, a date or a missing value.
"""

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...plumbing.errors import UserError
from .columns import Place, choose_columns, listed, show
from .dialect import Dialect, check_options, delimited_dialect, json_options
from .lines import COMPRESSED, read_lines

PARQUET, JSON, DELIMITED = (".parquet",), (".jsonl", ".ndjson", ".json"), (".csv", ".tsv")
BATCH = 10_000  # rows of a Parquet file in memory
HEAD = 1000  # JSON objects whose fields are known before the first is read
MAX_QUOTED = 10_000_000  # characters of a field; if a quotation mark is missing, the rest of the file is one field


def read_pairs(
    file: Path, languages: tuple[str, str], options: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (source, target) of each row. A missing value becomes an empty text. choose_columns finds the columns.

    `options` are the options of a data set's card (see dialect.py). Raise UserError, with the place in the file, if
    anything cannot be read. A file is read as a stream, but for a list of JSON objects, which is read whole.
    """
    suffix = _format(file)
    if suffix in PARQUET:
        check_options(file, options or {}, ())
        rows = _read_parquet(file, languages)
    elif suffix in JSON:
        rows = _read_json(file, languages, options or {})
    else:
        rows = _read_delimited(file, languages, delimited_dialect(file, suffix, options or {}))
    yield from _with_text(rows, [f"{file}, column {language!r}" for language in languages])


def read_aligned(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    """Yield line n of `source` with line n of `target`."""
    yield from _with_text(_read_aligned(source, target), [str(source), str(target)])


def _read_aligned(source: Path, target: Path) -> Iterator[tuple[str, str]]:
    for one, other in zip_longest(read_lines(source), read_lines(target)):
        if one is None or other is None:
            counts = [sum(1 for _ in read_lines(file)) for file in (source, target)]
            raise UserError(
                f"{source} has {counts[0]} lines, {target} has {counts[1]}; line n of one must translate line n of the "
                "other"
            )
        yield one, other


def _with_text(rows: Iterator[tuple[str, str]], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the rows. Raise UserError, at their end, if there are none, or if a side of all of them is empty."""
    count, has_text = 0, [False, False]
    for row in rows:
        count += 1
        yield row
        has_text = [known or bool(text.strip()) for known, text in zip(has_text, row, strict=True)]
        if all(has_text):
            yield from rows
            return
    for name, known in zip(names, has_text, strict=True):
        if not count:
            raise UserError(f"{name}: there are no rows")
        if not known:
            raise UserError(f"{name}: all {count} rows are empty; a corpus needs text on both sides")


def _format(file: Path) -> str:
    """Return the suffix of the format, without a suffix of compression. Raise UserError if it is not supported."""
    name = file.name.lower()
    packing = next((suffix for suffix in COMPRESSED if name.endswith(suffix)), "")
    suffix = Path(name.removesuffix(packing)).suffix
    if suffix in (*JSON, *DELIMITED) or (suffix in PARQUET and not packing):
        return suffix
    raise UserError(
        f"{file}: got the suffix {suffix + packing!r}, expected one of {', '.join((*PARQUET, *JSON, *DELIMITED))}; "
        f"all but .parquet may be compressed ({', '.join(COMPRESSED)}); for two text files with one sentence in each "
        "line, set source: to one and target: to the other"
    )


def _read_parquet(file: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the texts of both languages. A column may be a struct, such as the type Translation of `datasets`."""
    try:
        with pq.ParquetFile(file) as parquet:
            fields = [(field.name, _names(field.type)) for field in parquet.schema_arrow]
            places = choose_columns(fields, languages, file)
            begin = 0
            for batch in parquet.iter_batches(BATCH, columns=sorted({place[0] for place in places})):
                yield from zip(*(_texts_at(batch, place, file, begin) for place in places), strict=True)
                begin += batch.num_rows
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())  # Arrow writes several lines
        raise UserError(f"{file} could not be read as Parquet: {reason}; is it damaged?") from None


def _texts_at(batch: pa.RecordBatch, place: Place, file: Path, begin: int) -> list[str]:
    """Return the texts of a batch of rows, of which the first is row `begin`."""
    column, *field = place
    try:
        return _texts(pc.struct_field(batch[column], field) if field else batch[column], place, file, begin)
    except UnicodeDecodeError as error:  # Arrow reads text without checking that it is UTF-8
        raise UserError(
            f"{file}: column {'.'.join(place)!r}: byte 0x{error.object[error.start]:02x} in "
            f"{show(error.object)} is not UTF-8; write the column again, as text in UTF-8"
        ) from None


def _names(type_: pa.DataType) -> list[str]:
    return [field.name for field in type_] if pa.types.is_struct(type_) else []


def _texts(column: pa.Array, place: Place, file: Path, begin: int) -> list[str]:
    type_ = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(is_kind(type_) for is_kind in kinds):
        row = column.is_valid().index(True).as_py()
        raise _not_text(
            f"{file}, row {begin + row + 1}" if row >= 0 else str(file), place, str(type_), _example(column, row)
        )
    return [text or "" for text in column.to_pylist()]


def _example(column: pa.Array, row: int) -> object:
    """Return the value of a row. Return None if there is none, or if Python cannot hold it (a date after 9999)."""
    try:
        return column[row].as_py() if row >= 0 else None
    except UnicodeDecodeError:  # the caller reports it, with the bytes
        raise
    except (pa.ArrowException, ArithmeticError, LookupError, ValueError):
        return None


def _read_json(file: Path, languages: tuple[str, str], options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the texts of both languages. The first HEAD objects say where these are."""
    encoding, field = json_options(file, options)
    rows = _json_rows(file, encoding, field)
    head = list(islice(rows, HEAD))
    fields: dict[str, dict[str, None]] = {}
    for _, row in head:
        for name, value in row.items():
            fields.setdefault(name, {}).update(dict.fromkeys(value if isinstance(value, dict) else ()))
    source, target = choose_columns([(name, list(inner)) for name, inner in fields.items()], languages, file)
    for where, row in chain(head, rows):
        yield _json_text(row, source, f"{file}, {where}"), _json_text(row, target, f"{file}, {where}")


def _json_rows(file: Path, encoding: str, field: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object with its place, for messages. A file has one object in each line, or one list of objects."""
    first = next((line for line in read_lines(file, encoding) if line.strip()), "")
    if field is not None or first.lstrip().startswith("["):
        whole = _parsed("\n".join(read_lines(file, encoding)), str(file))
        if field is not None:
            whole = whole.get(field) if isinstance(whole, dict) else None
        if not isinstance(whole, list):
            raise UserError(f"{file}: expected a list of objects{f' in the field {field!r}' if field else ''}")
        found: Iterator[tuple[str, Any]] = ((f"item {number}", row) for number, row in enumerate(whole, 1))
    else:
        lines = enumerate(read_lines(file, encoding), 1)
        found = ((f"line {n}", _parsed(line, f"{file}, line {n}")) for n, line in lines if line.strip())
    for where, row in found:
        if not isinstance(row, dict):
            raise UserError(f"{file}, {where}: got {show(row)}, expected an object with a text for each language")
        yield where, row


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields as a dict. Raise ValueError if a name occurs twice: Python would keep the last value."""
    found = dict(fields)
    if len(found) < len(fields):
        names = [name for name, _ in fields]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two fields of an object are named {twice!r}; rename one")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _parsed(text: str, where: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON: {error}: {show(text)}") from None


def _json_text(row: dict[str, Any], place: Place, where: str) -> str:
    value: object = row
    for depth, key in enumerate(place):
        if not isinstance(value, dict):
            raise _not_text(where, place[:depth], type(value).__name__, value)
        if key not in value:
            name = ".".join(place[: depth + 1])
            raise UserError(f"{where}: no field {name!r}; it has: {listed(value)}; write null for a missing text")
        value = value[key]
        if value is None:
            return ""
    if not isinstance(value, str):
        raise _not_text(where, place, type(value).__name__, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: column {'.'.join(place)!r} has half of a surrogate pair, \\u{ord(value[error.start]):04x}; "
            "write the text again from its source"
        ) from None
    return value


def _not_text(where: str, place: Sequence[str], kind: str, example: object) -> UserError:
    such = f", such as {show(example)}" if example is not None else ""
    return UserError(
        f"{where}: column {'.'.join(place)!r} holds {kind}{such}, expected text: one translation in each row"
    )


def _read_delimited(file: Path, languages: tuple[str, str], dialect: Dialect) -> Iterator[tuple[str, str]]:
    rows = _rows(file, dialect)
    names = list(dialect.names or [])
    if dialect.has_header:
        _, header = next(rows, (0, []))
        names = names or header
    columns = choose_columns([(name, ()) for name in names], languages, file)
    source, target = (names.index(name) for (name,) in columns)
    for line, row in rows:
        if len(row) == len(names):
            yield row[source], row[target]
        elif dialect.skips_bad_lines:
            yield "", ""  # so that it is counted among the dropped pairs
        else:
            raise UserError(_wrong_row(f"{file}, line {line}", row, names, dialect.separator))


def _rows(file: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line in which each row begins, and its fields. Blank lines are skipped."""
    lines = read_lines(file, dialect.encoding)
    for _ in range(dialect.skipped_lines):
        next(lines, None)
    quotes = dialect.format["quoting"] != csv.QUOTE_NONE
    csv.field_size_limit(MAX_QUOTED if quotes else sys.maxsize)
    reader = csv.reader((f"{line}\n" for line in lines), strict=True, **dialect.format)
    while True:
        begin = dialect.skipped_lines + reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            advice = (
                "; put a field with a quotation mark, a separator or a line break into quotation marks, and double "
                "those inside it; or look for a quotation mark that is not closed"
            )
            raise UserError(f"{file}, row that begins in line {begin}: {error}{advice if quotes else ''}") from None
        if row:
            yield begin, row


def _wrong_row(where: str, row: list[str], names: list[str], separator: str) -> str:
    text = f"{where}: {len(row)} fields, expected {len(names)} ({', '.join(names)}): {show(separator.join(row))}"
    if len(row) == len(names) + 1 and not row[-1]:
        return f"{text}; it ends in {'a tab' if separator == chr(9) else repr(separator)}: remove that"
    return f"{text}; every row must have a field for each column"
