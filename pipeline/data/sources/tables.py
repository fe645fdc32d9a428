"""Owns how one local file becomes sentence pairs, through Hugging Face `datasets`. Not where the file came from."""

import tempfile
from pathlib import Path
from typing import Any

import datasets

from ...plumbing.errors import UserError

# Suffix -> the builder of `datasets` that reads it, and its options. Text is text: "NA" is no missing value, and in a
# .tsv a quotation mark is a quotation mark.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".parquet": ("parquet", {}),
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".csv": ("csv", {"keep_default_na": False}),
    ".tsv": ("csv", {"keep_default_na": False, "sep": "\t", "quoting": 3}),
}


def read_pairs(file: Path, languages: tuple[str, str]) -> list[tuple[str, str]]:
    """(source, target) of each row, from a column `translation` of language -> text or from one column a language."""
    if file.suffix not in FORMATS:
        raise UserError(
            f"{file}: got the suffix {file.suffix!r}, expected one of {', '.join(FORMATS)}; of two text files with a "
            "sentence a line, name one as source: and one as target:"
        )
    builder, options = FORMATS[file.suffix]
    if builder != "parquet":
        _check_utf8(file)
    rows = _load(builder, file, options)
    columns = {name: rows[name] for name in rows.column_names}
    if isinstance(nested := rows.features.get("translation"), dict):
        texts = list(rows["translation"])
        columns = {name: [(row or {}).get(name) for row in texts] for name in nested}
    missing = [language for language in languages if language not in columns]
    if missing:
        raise UserError(
            f"{file} has no column {missing[0]!r}; it has: {', '.join(columns)}; columns are named as "
            "download.source_language and download.target_language are"
        )
    sides = [[_text(value) for value in columns[language]] for language in languages]
    for texts, language in zip(sides, languages, strict=True):
        _check_text(texts, f"{file}, column {language!r}")
    return list(zip(*sides, strict=True))


def read_aligned(source: Path, target: Path) -> list[tuple[str, str]]:
    """Line n of `source` with line n of `target`."""
    sides = []
    for file in (source, target):
        _check_utf8(file)
        sides.append(list(_load("text", file, {})["text"]))
        _check_text(sides[-1], str(file))
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"{source} has {len(sides[0])} lines, {target} has {len(sides[1])}; line n of one must translate line n "
            "of the other"
        )
    return list(zip(*sides, strict=True))


def _load(builder: str, file: Path, options: dict[str, Any]) -> datasets.Dataset:
    """The rows of `file`. The cache lives as long as the call, so that a changed file is never served from old rows."""
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what is wrong is said below, in one line
    with tempfile.TemporaryDirectory() as cache:
        try:
            return datasets.load_dataset(
                builder, data_files=str(file), split="train", cache_dir=cache, keep_in_memory=True, **options
            )
        except (datasets.exceptions.DatasetGenerationError, OSError, ValueError) as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise UserError(f"{file} could not be read as {builder}: {reason}; is it damaged or empty?") from None


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _check_text(texts: list[str], name: str) -> None:
    if not any(text.strip() for text in texts):
        raise UserError(f"{name}: all {len(texts)} rows are empty; a corpus needs text on both sides")


def _check_utf8(file: Path) -> None:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise UserError(
                    f"{file}, line {number}: byte 0x{byte:02x} is not UTF-8; convert the file, e.g. with iconv"
                ) from None
