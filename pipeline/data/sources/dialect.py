"""Translate the options of a data set's card for tables.py. They say how the text files of the data set are written.

The options are in the card's `configs`. They are the options of the builders `csv` and `json` of `datasets`.
"""

import codecs
import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...plumbing.errors import UserError

# Options that change nothing here, because every value is read as text: how numbers and missing values are recognised,
# how much is read at once, and other names of the same options.
WITHOUT_EFFECT = {
    *("chunksize", "block_size", "batch_size", "use_threads", "memory_map", "low_memory", "engine", "float_precision"),
    *("features", "keep_default_na", "na_filter", "true_values", "false_values", "thousands", "decimal"),
    *("date_format", "verbose", "skip_blank_lines", "mangle_dupe_cols", "columns", "on_mixed_types"),
    *("parse_agent_traces", "delimiter", "column_names", "lineterminator", "usecols"),
}


@dataclass(frozen=True)
class Dialect:
    """How to read a delimited file."""

    format: dict[str, Any]  # for csv.reader
    names: list[str] | None = None  # names of the columns, which replace those in the header
    has_header: bool = True
    skipped_lines: int = 0
    skips_bad_lines: bool = False
    encoding: str = "utf-8"

    @property
    def separator(self) -> str:
        return str(self.format["delimiter"])


def delimited_dialect(file: Path, suffix: str, options: Mapping[str, Any]) -> Dialect:
    """Return how to read a .csv or .tsv file.

    In a .tsv file quotation marks are part of the text, unless the card has the option `quotechar`.
    """
    marks = ("doublequote", "escapechar", "quotechar", "skipinitialspace")
    known = (*marks, "sep", "quoting", "names", "header", "skiprows", "on_bad_lines", "encoding")
    check_options(file, options, known)
    is_plain = suffix == ".tsv" and "quotechar" not in options
    form = {"delimiter": options.get("sep", "\t" if suffix == ".tsv" else ",")}
    form["quoting"] = csv.QUOTE_NONE if options.get("quoting", 3 * is_plain) == csv.QUOTE_NONE else csv.QUOTE_MINIMAL
    form |= {name: options[name] for name in marks if name in options}
    names, header, skipped = options.get("names"), options.get("header", "infer"), options.get("skiprows") or 0
    for name, value in (("header", header), ("skiprows", skipped)):
        if value not in ("infer", None) and not isinstance(value, int):
            raise _unsupported(file, name, value)
    if header is None and not names:
        raise UserError(
            f"{file}: the data set's card says that there is no header, and names no columns; download the files, add "
            "a first line with the names of the columns, and set download.files.splits to the files"
        )
    try:
        csv.reader([], **form)
    except (TypeError, ValueError):
        name = "sep" if len(str(form["delimiter"])) != 1 else "quotechar"
        raise _unsupported(file, name, options.get(name)) from None
    return Dialect(
        form,
        [str(name) for name in names] if names else None,
        has_header=names is None if header == "infer" else header is not None,
        skipped_lines=skipped + (header if isinstance(header, int) else 0),
        skips_bad_lines=options.get("on_bad_lines") in ("skip", "warn"),
        encoding=_encoding(file, options),
    )


def json_options(file: Path, options: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the encoding of a JSON file, and the field that holds its rows."""
    check_options(file, options, ("encoding", "field"))
    return _encoding(file, options), options.get("field")


def _encoding(file: Path, options: Mapping[str, Any]) -> str:
    name = str(options.get("encoding", "utf-8"))
    try:
        known = codecs.lookup(name).name
    except LookupError:
        raise _unsupported(file, "encoding", name) from None
    if "\n".encode(known) != b"\n":  # UTF-16 and UTF-32 are not supported: lines are split as bytes
        raise _unsupported(file, "encoding", name)
    return known


def check_options(file: Path, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise UserError for an unknown option. It could change how the file is read."""
    for name, value in options.items():
        if name not in known and name not in WITHOUT_EFFECT:
            raise _unsupported(file, name, value)


def _unsupported(file: Path, name: str, value: object) -> UserError:
    return UserError(
        f"{file}: the data set's card sets {name}: {value!r}, which is not supported; download the files, convert "
        "them, and set download.files.splits to them"
    )
