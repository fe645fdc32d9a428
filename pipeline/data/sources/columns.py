"""Find the columns of a table that hold the two languages."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ...plumbing.errors import UserError

Fields = Sequence[tuple[str, Sequence[str]]]  # each column, and the names of the fields in it
Place = tuple[str, ...]  # a column, or a column and a field in it
LISTED = 20  # columns in a message


def choose_columns(fields: Fields, languages: tuple[str, str], file: Path) -> list[Place]:
    """Return where the text of each language stands.

    That is a column a language, or one column with a field a language, as `datasets`' type Translation is stored.
    """
    if not fields:
        raise UserError(f"{file} is empty: it has no rows of text")
    columns = [column for column, _ in fields]
    if names := _matching(columns, languages):
        _check_single(names, columns, f"{file}: two columns are")
        return [(name,) for name in names]
    inside = {column: found for column, inner in fields if (found := _matching(inner, languages))}
    _check_single(inside, columns, f"{file}: two columns are")
    if len(inside) > 1:
        raise UserError(f"{file}: the columns {' and '.join(inside)} each hold {' and '.join(languages)}; keep one")
    for column, found in inside.items():
        _check_single(found, dict(fields)[column], f"{file}: two fields of the column {column!r} are")
        return [(column, name) for name in found]
    raise UserError(_missing(fields, languages, file))


def _check_single(chosen: Iterable[str], names: Sequence[str], what: str) -> None:
    for name in chosen:
        if names.count(name) > 1:
            raise UserError(f"{what} named {name!r}; rename one")


def show(value: object) -> str:
    """Return the value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def listed(names: Collection[str]) -> str:
    """Return the names, cut where they are many or long."""
    shown = [name if len(name) <= 60 else f"{name[:59]}…" for name in list(names)[:LISTED]]
    return ", ".join(name or "(no name)" for name in shown or ["nothing"]) + (", …" if len(names) > LISTED else "")


def _matching(names: Collection[str], languages: tuple[str, str]) -> list[str]:
    """The names of both languages, or none."""
    found = [_named(names, language) for language in languages]
    return [name for name in found if name is not None] if None not in found else []


def _named(names: Collection[str], language: str) -> str | None:
    """The name that is the language's code. `pt_br` is pt-BR; `pt`, which may be another language, is not."""
    if language in names:
        return language
    alike = list({name for name in names if _folded(name) == _folded(language)})
    return alike[0] if len(alike) == 1 else None


def _folded(code: str) -> str:
    return code.strip().replace("_", "-").casefold()


def _missing(fields: Fields, languages: tuple[str, str], file: Path) -> str:
    """What to say of a table without the two languages: what it has, and what was probably meant."""
    for column, inner in fields:
        if set(inner) == {"language", "translation"}:
            return (
                f"{file}: the column {column!r} has lists of languages and translations "
                "(TranslationVariableLanguages), which are not read; write one column a language, one translation a row"
            )
    names = [name for name, _ in fields] + [f"{column}.{name}" for column, inner in fields for name in inner]
    codes = [name.rpartition(".")[2] for name in names]
    missing = [language for language in languages if _named(codes, language) is None]
    if not missing:
        return f"{file}: {' and '.join(languages)} are not both columns, nor fields of one; it has: {listed(names)}"
    text = f"{file} has no column {missing[0]!r}; it has: {listed(names)}"
    if alike := [code for code in codes if _base(code) == _base(missing[0])]:
        return f"{text}; if {alike[0]!r} is meant, name the language so in the settings, or rename the column"
    mark = next((mark for mark in "\t;,|" if len(names) == 1 and mark in names[0]), None)
    if mark:
        return f"{text}; is {mark!r} the separator? .csv has commas, .tsv tabs"
    return f"{text}; columns are named as download.source_language and download.target_language are"


def _base(code: str) -> str:
    return _folded(code).split("-")[0]
