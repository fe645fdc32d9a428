"""Owns how one local file becomes sentence pairs, through Hugging Face `datasets`. Knows nothing of where it came from."""

import tempfile
from pathlib import Path

import datasets

from ..errors import UserError

# Suffix -> the builder of `datasets` that reads it, and its options. Text is text: "NA" is no missing value, and a quotation
# mark in a .tsv is a quotation mark.
FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".parquet": ("parquet", {}),
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".csv": ("csv", {"keep_default_na": False}),
    ".tsv": ("csv", {"keep_default_na": False, "sep": "\t", "quoting": 3}),
    ".txt": ("text", {}),
}


def load(file: Path, suffix: str) -> datasets.Dataset:
    """The rows of `file`, read as its suffix says. Nothing is cached: a changed file is never served from old rows."""
    builder, options = FORMATS[suffix]
    if builder != "parquet":
        _check_utf8(file)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        try:
            return datasets.load_dataset(
                builder, data_files=str(file), split="train", cache_dir=cache, keep_in_memory=True, **options
            )
        except (datasets.exceptions.DatasetGenerationError, OSError, ValueError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()
            raise UserError(f"{file} could not be read as {builder}: {reason[0] if reason else 'no reason given'}") from None


def read_pairs(file: Path, suffix: str, languages: tuple[str, str]) -> list[tuple[str, str]]:
    """The rows of `file` as (source, target): from a column `translation` of language -> text, or one column a language."""
    rows = load(file, suffix)
    columns = {name: list(rows[name]) for name in rows.column_names if name in (*languages, "translation")}
    offered = rows.column_names
    if "translation" in columns and isinstance(rows.features["translation"], dict):
        offered = [f"translation.{name}" for name in rows.features["translation"]]
        columns = {name: [row[name] for row in columns["translation"]] for name in rows.features["translation"]}
    for language in languages:
        if language not in columns:
            raise UserError(
                f"{file} has no column {language!r}; it has: {', '.join(offered)}; name the columns after "
                "download.source_language and download.target_language, or change those"
            )
    sides = [[_text(value) for value in columns[language]] for language in languages]
    check_sides(sides, [f"{file}, column {language!r}" for language in languages])
    return list(zip(*sides, strict=True))


def check_sides(sides: list[list[str]], names: list[str]) -> None:
    """UserError if one side has no text at all."""
    for texts, name in zip(sides, names, strict=True):
        if not any(text.strip() for text in texts):
            raise UserError(f"{name}: all {len(texts)} rows are empty; a corpus needs text on both sides")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _check_utf8(file: Path) -> None:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{file}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8; convert the file, e.g. with iconv"
                ) from None
