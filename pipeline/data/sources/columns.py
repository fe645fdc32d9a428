"""Find the columns with the two languages in a table. Mistakes in the table are UserErrors."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ...plumbing.errors import UserError
from ...plumbing.visible import visible

Fields = Sequence[tuple[str, Sequence[str]]]  # column, and the names of its fields if it is a struct
Place = tuple[str, ...]  # a column, or a column and one of its fields
LISTED = 20  # the largest number of names in a message


def choose_columns(fields: Fields, languages: tuple[str, str], file: Path) -> list[Place]:
    """Return the place of the text of each language. Raise UserError if there is no such place, or more than one.

    Each language has a column, or there is one column with a field for each language, as in the type Translation of
    `datasets`.
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
        raise UserError(
            f"{file}: the columns {visible(' and '.join(inside))} each hold {' and '.join(languages)}; keep one"
        )
    for column, found in inside.items():
        _check_single(found, dict(fields)[column], f"{file}: two fields of the column {column!r} are")
        return [(column, name) for name in found]
    raise UserError(_missing(fields, languages, file))


def _check_single(chosen: Iterable[str], names: Sequence[str], what: str) -> None:
    for name in chosen:
        if names.count(name) > 1:
            raise UserError(f"{what} named {name!r}; rename one")


def show(value: object) -> str:
    """Return the value as Python writes it, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def listed(names: Collection[str]) -> str:
    """Return the names, separated by commas. The text is shortened if they are many or long."""
    shown = [visible(name if len(name) <= 60 else f"{name[:59]}…") for name in list(names)[:LISTED]]
    return ", ".join(name or "(no name)" for name in shown or ["nothing"]) + (", …" if len(names) > LISTED else "")


def _matching(names: Collection[str], languages: tuple[str, str]) -> list[str]:
    """Return the names that stand for the two languages, or an empty list if one is missing."""
    found = [_named(names, language) for language in languages]
    return [name for name in found if name is not None] if None not in found else []


def _named(names: Collection[str], language: str) -> str | None:
    """Return the name that is the code of the language, in upper or lower case, with - or _; None if there is none.

    `pt_br` is found for pt-BR. `pt` is not, because it may be another variety.
    """
    if language in names:
        return language
    alike = list({name for name in names if _normal_code(name) == _normal_code(language)})
    return alike[0] if len(alike) == 1 else None


def _normal_code(code: str) -> str:
    return code.strip().replace("_", "-").casefold()


def _missing(fields: Fields, languages: tuple[str, str], file: Path) -> str:
    """Return an error message for a table that lacks a language: what the table has, and what may be meant."""
    for column, inner in fields:
        if set(inner) == {"language", "translation"}:
            return (
                f"{file}: the column {column!r} has lists of languages and translations "
                "(TranslationVariableLanguages), which cannot be read; write one column for each language, and one "
                "translation in each row"
            )
    names = [name for name, _ in fields] + [f"{column}.{name}" for column, inner in fields for name in inner]
    codes = [name.rpartition(".")[2] for name in names]
    missing = [language for language in languages if _named(codes, language) is None]
    if not missing:
        return (
            f"{file}: {' and '.join(languages)} are neither two columns nor two fields of one; it has: {listed(names)}"
        )
    text = f"{file} has no column {missing[0]!r}; it has: {listed(names)}"
    if alike := [code for code in codes if _base(code) == _base(missing[0])]:
        return f"{text}; if you mean {alike[0]!r}, use this code in the settings, or rename the column"
    mark = next((mark for mark in "\t;,|" if len(names) == 1 and mark in names[0]), None)
    if mark:
        return f"{text}; is {mark!r} the separator? .csv files have commas, .tsv files have tabs"
    return f"{text}; columns must have the names of download.source_language and download.target_language"


def _base(code: str) -> str:
    return _normal_code(code).split("-")[0]
