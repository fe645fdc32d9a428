"""Reading pairs from files: every format and compression, and errors with file, line and value."""

import bz2
import gzip
import json
import lzma
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.sources import tables
from pipeline.plumbing.errors import UserError

LANGUAGES = ("en", "de")
ODD = "a\u2028b\x85c\x0bd\x0ce\x1cf"  # str.splitlines would split this, but it is one line


def read_pairs(*arguments: Any) -> list[tuple[str, str]]:
    return list(tables.read_pairs(*arguments))


def read_aligned(source: Path, target: Path) -> list[tuple[str, str]]:
    return list(tables.read_aligned(source, target))


def pairs(folder: Path, name: str, content: str | bytes, **options: Any) -> list[tuple[str, str]]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_pairs(folder / name, LANGUAGES, options)


def complaint(folder: Path, name: str, content: str | bytes, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        pairs(folder, name, content, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


def parquet_complaint(folder: Path, table: pa.Table, languages: tuple[str, str] = LANGUAGES) -> str:
    pq.write_table(table, folder / "a.parquet")
    with pytest.raises(UserError) as caught:
        read_pairs(folder / "a.parquet", languages)
    return str(caught.value).replace(f"{folder}/", "")


def mended(folder: Path, name: str, content: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the error for the file, and the pairs of the new file that the command in the error makes."""
    message = complaint(folder, name, content)
    message, _, command = message.partition(", run: ")
    if program := next((word for word in re.findall(r"^\w+|(?<=\| )\w+", command) if not shutil.which(word)), None):
        pytest.skip(f"there is no {program}")
    before = {*folder.iterdir()}
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    (new,) = {*folder.iterdir()} - before
    return message.removeprefix(f"{name}: "), read_pairs(new, LANGUAGES)


def aligned(folder: Path, source: bytes, target: bytes) -> list[tuple[str, str]]:
    (folder / "a.en").write_bytes(source)
    (folder / "a.de").write_bytes(target)
    return read_aligned(folder / "a.en", folder / "a.de")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_only_lf_and_crlf_end_a_line_and_a_byte_order_mark_is_removed(
    tmp_path: Path, end: str, mark: str, last: bool
) -> None:
    def lines(*texts: str) -> str:
        return mark + end.join(texts) + end * last

    expected = [(ODD, "x"), ("lone CR", "y")]
    rows = [json.dumps({"en": en, "de": de}, ensure_ascii=False) for en, de in expected]
    assert pairs(tmp_path, "a.jsonl", lines(*rows)) == expected
    assert pairs(tmp_path, "a.tsv", lines("en\tde", f"{ODD}\tx", "lone\rCR\ty")) == expected
    assert pairs(tmp_path, "a.csv", lines("en,de", f"{ODD},x", "lone\rCR,y")) == expected
    sides = lines(ODD, "lone\rCR").encode(), lines("x", "y").encode()
    assert aligned(tmp_path, *sides) == expected


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed_text_is_read_and_damage_is_an_error(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    for name, text in [("a.TSV", "en\tde\na\tb\n"), ("a.csv", "en,de\na,b\n"), ("a.jsonl", '{"en": "a", "de": "b"}\n')]:
        assert pairs(tmp_path, name + suffix, pack(text.encode())) == [("a", "b")]
        assert "is it damaged" in complaint(tmp_path, name + suffix, pack(text.encode() * 99)[:-9])
    for side in ("en", "de"):
        (tmp_path / f"a.{side}{suffix}").write_bytes(pack(side.encode()))
    assert read_aligned(tmp_path / f"a.en{suffix}", tmp_path / f"a.de{suffix}") == [("en", "de")]


@pytest.mark.parametrize("name", ["a.tsv.zip", "a.jsonl.zst", "a.parquet.gz", "a.gz", "a"])
def test_an_unknown_suffix_is_an_error_that_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    assert "expected one of .parquet, .jsonl" in complaint(tmp_path, name, b"PK")


# Compressed without the time: pytest names tests by these bytes, and two processes must collect the same names.
PACKS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": partial(gzip.compress, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", ["", *PACKS])
def test_line_ends_of_cr_only_are_an_error_with_a_command_that_converts_them(tmp_path: Path, suffix: str) -> None:
    pack = PACKS.get(suffix, bytes)
    message, made = mended(tmp_path, f"it's [v2] a.tsv{suffix}", pack(b"en\tde\ra\tb\rc\td\r"))
    assert "CR only" in message
    assert made == [("a", "b"), ("c", "d")]
    for name in ("a.csv", "a.jsonl"):
        assert "CR only" in complaint(tmp_path, name, "en\tde\ra\tb\rc\td\r")
    with pytest.raises(UserError, match="tr '"):
        aligned(tmp_path, b"a\rb\r", b"c\rd\r")


@pytest.mark.parametrize("suffix", ["", *PACKS])
@pytest.mark.parametrize(
    ("encoding", "mark", "name"),
    [
        *(("utf-16-le", "\ufeff", "UTF-16"), ("utf-16-be", "\ufeff", "UTF-16")),
        *(("utf-16-le", "", "UTF-16LE"), ("utf-16-be", "", "UTF-16BE")),
        *(("utf-32-le", "\ufeff", "UTF-32"), ("utf-32-be", "\ufeff", "UTF-32")),
        *(("utf-32-le", "", "UTF-32LE"), ("utf-32-be", "", "UTF-32BE")),
    ],
)
def test_utf_16_and_utf_32_are_an_error_with_a_command_that_converts_them(
    tmp_path: Path, encoding: str, mark: str, name: str, suffix: str
) -> None:
    for text in ("en\tde\na\tДа, ā\n", "en\tde\n" + "a\tДа, ā\n" * 1000):
        folder = tmp_path / f"it's [v2] {len(text)}"
        folder.mkdir()
        content = PACKS.get(suffix, bytes)((mark + text).encode(encoding))
        message, made = mended(folder, f"a.tsv{suffix}", content)
        assert message == f"this is {name}; make a new file and use that"
        assert {*made} == {("a", "Да, ā")}


def test_utf_16_is_recognised_if_its_first_line_has_no_zero_byte(tmp_path: Path) -> None:
    text = "да\nнет\n".encode("utf-16-le")
    with pytest.raises(UserError, match="this is UTF-16LE"):
        aligned(tmp_path, text, b"yes\nno\n")


def test_a_zero_byte_in_a_text_does_not_make_it_utf_16(tmp_path: Path) -> None:
    assert "line 1: byte 0x00 is not text" in complaint(tmp_path, "a.tsv", "en\tde\0\na\tb\n")
    assert pairs(tmp_path, "a.tsv", "en\tde\na\0b\tc\n") == [("a\0b", "c")]


@pytest.mark.parametrize("suffix", ["", ".bz2"])
@pytest.mark.parametrize(
    ("kind", "advice"),
    [("gzip", "rename"), ("bzip2", "rename"), ("xz", "rename"), ("Parquet", "rename"), ("zip", "unpack")]
    + [("zstd", "unpack")],
)
def test_a_compressed_file_with_the_wrong_suffix_is_an_error_with_a_command_that_repairs_it(
    tmp_path: Path, kind: str, advice: str, suffix: str
) -> None:
    text, made = b"en\tde\na\tb\n", tmp_path / "made"
    match kind:
        case "Parquet":
            pq.write_table(pa.table({"en": ["a"], "de": ["b"]}), made)
        case "zip":
            with zipfile.ZipFile(made, "w") as archive:
                archive.writestr("a.tsv", text)
        case "zstd":
            made.write_bytes(pa.compress(text, "zstd", asbytes=True))
        case _:
            made.write_bytes(PACKS[{"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz"}[kind]](text))
    name = f"it's [v2] a.tsv{suffix}"
    if kind == "bzip2" and suffix:
        assert pairs(tmp_path, name, made.read_bytes()) == [("a", "b")]
    else:
        message = mended(tmp_path, name, made.read_bytes())
        assert message == (f"this is {kind}; {advice} it", [("a", "b")])


def test_aligned_files_of_different_lengths_are_an_error_with_both_counts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.en has 3 lines, .*a\.de has 2"):
        aligned(tmp_path, b"a\nb\n\n", b"c\nd\n")
    with pytest.raises(UserError, match=r"a\.en has 0 lines, .*a\.de has 1"):
        aligned(tmp_path, b"", b"\n")
    with pytest.raises(UserError, match=r"a\.en: there are no rows"):
        aligned(tmp_path, b"", b"")
    assert aligned(tmp_path, b"a\n\nb", b"c\n\nd") == [("a", "c"), ("", ""), ("b", "d")]


def test_values_that_look_like_numbers_dates_or_missing_values_are_text(tmp_path: Path) -> None:
    expected = [("007", "1.50"), ("2024-01-02", "NA"), ("true", "null")]
    rows = [json.dumps({"en": en, "de": de}) for en, de in expected]
    assert pairs(tmp_path, "a.jsonl", "\n".join(rows)) == expected
    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        assert pairs(tmp_path, name, "\n".join(f"{en}{mark}{de}" for en, de in [LANGUAGES, *expected])) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a\tb\tc", "3 fields, expected 2 (en, de): 'a\\tb\\tc'; every row must have a field for each column"),
        ("a\tb\t", "3 fields, expected 2 (en, de): 'a\\tb\\t'; it ends in a tab: remove that"),
        ("a b", "1 fields, expected 2 (en, de): 'a b'; every row"),
    ],
)
def test_a_row_with_too_many_or_too_few_fields_is_an_error(tmp_path: Path, row: str, expected: str) -> None:
    for rows in (f"x\ty\n{row}\n", f"x\ty\n{row}", f"x\ty\n{row}\nx\ty\n"):
        assert complaint(tmp_path, "a.tsv", f"en\tde\n{rows}").startswith(f"a.tsv, line 3: {expected}")
    row, expected = row.replace("\t", ","), expected.replace("\\t", ",").replace("a tab", "','")
    assert complaint(tmp_path, "a.csv", f"en,de\n{row}\n").startswith(f"a.csv, line 2: {expected}")


def test_one_field_too_many_in_every_row_is_not_taken_for_an_index(tmp_path: Path) -> None:
    assert "line 2: 3 fields" in complaint(tmp_path, "a.tsv", "en\tde\n" + "a\tb\tc\n" * 3)
    assert pairs(tmp_path, "a.csv", ",en,de\n0,a,b\n1,c,d\n") == [("a", "b"), ("c", "d")]  # an index with its own name
    assert pairs(tmp_path, "b.csv", "de,id,en\nb,1,a\n\nd,2,c\n") == [("a", "b"), ("c", "d")]


def test_repeated_column_names_and_wrong_separators_are_errors(tmp_path: Path) -> None:
    assert "two columns are named 'en'" in complaint(tmp_path, "a.csv", "en,de,en\na,b,c\n")
    assert "is ';' the separator?" in complaint(tmp_path, "a.csv", "en;de\na;b\n")
    assert "is '\\t' the separator?" in complaint(tmp_path, "a.csv", "en\tde\na\tb\n")
    assert "there are no rows" in complaint(tmp_path, "a.csv", "en,de\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("a.tsv", b""), ("a.csv", b"\n\n"), ("a.jsonl", b""), ("a.json", b"[]"), ("a.json", b"\xef\xbb\xbf")),
        *((f"a.tsv{suffix}", content) for suffix, pack in PACKS.items() for content in (b"", pack(b""))),
    ],
)
def test_an_empty_file_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    assert complaint(tmp_path, name, content) == f"{name} is empty: it has no rows of text"


def test_repeated_names_of_columns_and_fields_are_errors_in_parquet(tmp_path: Path) -> None:
    a, b = pa.array(["a"]), pa.array(["b"])
    for names in (["en", "de", "de"], ["EN", "de", "EN"]):
        twice = next(name for name in names if names.count(name) > 1)
        message = f"two columns are named {twice!r}; rename one"
        assert parquet_complaint(tmp_path, pa.table([a, b, b], names=names)) == f"a.parquet: {message}"
        rows = f"{chr(9).join(names)}\na\tb\tc\n"
        assert complaint(tmp_path, "a.tsv", rows) == f"a.tsv: {message}"
        message = f"a.parquet: two fields of the column 't' are named {twice!r}; rename one"
        assert parquet_complaint(tmp_path, pa.table({"t": pa.StructArray.from_arrays([a, b, b], names)})) == message
    pair = pa.StructArray.from_arrays([a, b], ["en", "de"])
    for other in (pair, pa.array([1])):
        message = parquet_complaint(tmp_path, pa.table([pair, other], names=["translation"] * 2))
        assert message == "a.parquet: two columns are named 'translation'; rename one"
    pq.write_table(pa.table([a, b, b, b], names=["en", "de", "x", "x"]), tmp_path / "a.parquet")
    assert read_pairs(tmp_path / "a.parquet", LANGUAGES) == [("a", "b")]


def test_quotation_marks_are_text_in_tsv_and_quotes_in_csv(tmp_path: Path) -> None:
    assert pairs(tmp_path, "a.tsv", 'en\tde\n"a\t""b""\n5" disk\t\'c\n') == [('"a', '""b""'), ('5" disk', "'c")]
    assert pairs(tmp_path, "a.csv", 'en,de\n"a, ""x""\nb",c\n') == [('a, "x"\nb', "c")]
    assert "row that begins in line 3" in complaint(tmp_path, "a.csv", 'en,de\na,b\n"c,d\ne,f\n')
    assert "row that begins in line 2" in complaint(tmp_path, "a.csv", 'en,de\n"a"b,c\n')


def test_a_field_may_be_long_but_a_missing_quotation_mark_is_an_error(tmp_path: Path) -> None:
    long = "a " * 100_000
    for name, text in (("a.tsv", f'en\tde\n"{long}\tb\n'), ("a.csv", f'en,de\n"""{long}",b\n')):
        assert pairs(tmp_path, name, text) == [(f'"{long}', "b")]
    assert pairs(tmp_path, "a.tsv", f"en\tde\n{'a' * 11_000_000}\tb\n")[0][1] == "b"
    for rows in (1, 60):
        message = complaint(tmp_path, "a.csv", 'en,de\n"a,b\n' + f"{long},b\n" * rows)
        assert message.startswith("a.csv, row that begins in line 2: ")
        assert message.endswith("look for a quotation mark that is not closed")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(["a", "b"], "list"), ({"x": "a"}, "dict"), (3, "int"), (1.5, "float"), (True, "bool"), ([], "list")],
)
def test_a_json_value_that_is_not_text_is_an_error(tmp_path: Path, value: object, kind: str) -> None:
    good = {"en": "a", "de": "b"}
    message = complaint(tmp_path, "a.jsonl", f"{json.dumps(good)}\n{json.dumps(good | {'de': value})}\n")
    assert message.startswith(f"a.jsonl, line 2: column 'de' holds {kind}, such as {value!r}, expected text")
    nested = "".join(json.dumps({"translation": row}) + "\n" for row in (good, good | {"de": value}))
    assert "line 2: column 'translation.de' holds" in complaint(tmp_path, "a.jsonl", nested)


def test_null_in_json_is_an_empty_text(tmp_path: Path) -> None:
    rows = [{"en": "a", "de": "b"}, {"en": None, "de": "c"}]
    expected = [("a", "b"), ("", "c")]
    assert pairs(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))) == expected
    assert pairs(tmp_path, "a.json", json.dumps(rows, indent=1)) == expected
    nested: list[object] = [*({"t": row} for row in rows), {"t": None}]
    assert pairs(tmp_path, "a.jsonl", "\n".join(map(json.dumps, nested))) == [*expected, ("", "")]


@pytest.mark.parametrize(
    ("nested", "bad", "expected"),
    [
        (False, {"en": "a"}, "no field 'de'; it has: en;"),
        (False, {"EN": "a", "DE": "b"}, "no field 'en'; it has: EN, DE;"),
        (False, {"t": {"en": "a", "de": "b"}}, "no field 'en'; it has: t;"),
        (False, {}, "no field 'en'; it has: nothing;"),
        (True, {"t": {"de": "b"}}, "no field 't.en'; it has: de;"),
        (True, {"id": "a"}, "no field 't'; it has: id;"),
    ],
)
def test_a_json_object_without_a_field_is_an_error(tmp_path: Path, nested: bool, bad: object, expected: str) -> None:
    row: object = {"en": "a", "de": "b"}
    rows = [{"t": row} if nested else row, bad]
    assert complaint(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))).startswith(f"a.jsonl, line 2: {expected}")
    assert complaint(tmp_path, "a.json", json.dumps(rows)).startswith(f"a.json, item 2: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"en": "a", "de": "b"}\n{"en": "a"\n', "a.jsonl, line 2: not valid JSON"),
        ('{"en": "a", "de": "b"}\r{"en": "a", "de": "b"}\n', "a.jsonl, line 1: not valid JSON: Extra data"),
        ('["a", "b"]', "a.jsonl, item 1: got 'a', expected an object"),
        ('{"en": "a", "de": "b"}\n"x"\n', "a.jsonl, line 2: got 'x', expected an object"),
        ('{"en": "a", "de": "\\ud83d"}\n', "a.jsonl, line 1: column 'de' has half of a surrogate pair, \\ud83d"),
        ('{"t": {"en": "a", "de": "b"}}\n{"t": "x"}', "a.jsonl, line 2: column 't' holds str, such as 'x'"),
        ('{"a": {"en": "", "de": ""}, "b": {"en": "", "de": ""}}', "a.jsonl: the columns a and b each hold en and de"),
        ('{"en": "a", "x": {"de": "b"}}', "a.jsonl: en and de are neither two columns nor two fields of one; it has"),
        ("[" * 100_000, "a.jsonl: not valid JSON"),
        ('{"en": "a", "de": "b", "de": "c"}', "a.jsonl, line 1: not valid JSON: two fields of an object are named"),
        ('[{"t": {"en": "a", "de": "b", "de": ""}}]', "a.jsonl: not valid JSON: two fields of an object are named 'de"),
    ],
)  # fmt: skip
def test_json_without_pairs_is_an_error(tmp_path: Path, text: str, expected: str) -> None:
    assert complaint(tmp_path, "a.jsonl", text).startswith(expected)


@pytest.mark.parametrize("name", ["translation", "t"])
def test_the_type_translation_is_read_from_parquet_with_any_column_name(tmp_path: Path, name: str) -> None:
    rows = [{"en": "a", "de": "b", "fr": "x"}, {"en": "c", "de": None, "fr": None}, None]
    for kind in (
        datasets.Translation(["de", "en", "fr"]),
        {code: datasets.Value("large_string") for code in ("de", "en", "fr")},
    ):
        features = datasets.Features({"id": datasets.Value("int32"), name: kind})
        made = datasets.Dataset.from_dict({"id": [1, 2, 3], name: rows}, features=features)
        made.to_parquet(tmp_path / "a.parquet")
        assert read_pairs(tmp_path / "a.parquet", LANGUAGES) == [("a", "b"), ("c", ""), ("", "")]


def test_text_of_every_arrow_type_is_read(tmp_path: Path) -> None:
    types = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    for type_ in types:
        table = pa.table({"en": pa.array(["a", None], type_), "de": pa.array(["b", "c"], type_)})
        pq.write_table(table, tmp_path / "a.parquet")
        assert read_pairs(tmp_path / "a.parquet", LANGUAGES) == [("a", "b"), ("", "c")]
    assert "column 'de': all 1 rows are empty" in parquet_complaint(tmp_path, pa.table({"en": ["a"], "de": [None]}))


@pytest.mark.parametrize("kind", ["plain", "dictionary", "struct", "list"])
def test_text_in_parquet_that_is_not_utf_8_is_an_error_with_its_column(tmp_path: Path, kind: str) -> None:
    offsets = np.array([0, 1, 4], np.int32)
    texts = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(b"ab\xffc"))
    table = pa.table({"en": ["x", "y"], "de": texts})
    match kind:
        case "dictionary":
            table = pa.table({"en": ["x", "y"], "de": texts.dictionary_encode()})
        case "struct":
            table = pa.table({"t": pa.StructArray.from_arrays([pa.array(["x", "y"]), texts], ["en", "de"])})
        case "list":
            lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), texts)
            table = pa.table({"en": [None, None], "de": lists.slice(1).take([0, 0])})
    place = "t.de" if kind == "struct" else "de"
    message = parquet_complaint(tmp_path, table)
    assert message.startswith(f"a.parquet: column {place!r}: byte 0xff in b'b\\xffc' is not UTF-8")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(["a", "b"], "list<"), ({"x": "a"}, "struct<"), (3, "int64"), (1.5, "double"), (True, "bool"), (b"a", "binary")],
)
def test_a_parquet_column_that_is_not_text_is_an_error(tmp_path: Path, value: object, kind: str) -> None:
    message = parquet_complaint(tmp_path, pa.table({"en": ["a", "b"], "de": [None, value]}))
    assert message.startswith(f"a.parquet, row 2: column 'de' holds {kind}")
    assert f"such as {value!r}, expected text" in message
    message = parquet_complaint(tmp_path, pa.table({"t": [{"en": "a", "de": value}]}))
    assert message.startswith(f"a.parquet, row 1: column 't.de' holds {kind}")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, 253402300800000], pa.int64()).cast(pa.timestamp("ms")),  # the year 10000
        pa.array([None, 2147483647], pa.int32()).cast(pa.date32()),
        pa.array([None, 0], pa.int64()).cast(pa.timestamp("ms", "Mars/X")),
        pa.array([None, {"x": 2147483647}], pa.struct({"x": pa.int32()})).cast(pa.struct({"x": pa.date32()})),
        pa.array([None, 2**62], pa.int64()).cast(pa.duration("s")),
    ],
)
def test_a_parquet_column_of_values_that_python_cannot_hold_is_an_error(tmp_path: Path, column: pa.Array) -> None:
    message = parquet_complaint(tmp_path, pa.table({"en": ["a", "b"], "de": column}))
    assert message.startswith(f"a.parquet, row 2: column 'de' holds {column.type}, expected text")
    message = parquet_complaint(tmp_path, pa.table({"en": ["a"], "de": column[:1]}))
    assert message.startswith(f"a.parquet: column 'de' holds {column.type}, expected text")


def test_the_type_translation_variable_languages_is_an_error(tmp_path: Path) -> None:
    features = datasets.Features({"translation": datasets.TranslationVariableLanguages(["en", "de"])})
    made = datasets.Dataset.from_dict({"translation": [{"en": "a", "de": ["b", "c"]}]}, features=features)
    made.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"TranslationVariableLanguages.*one translation in each row"):
        read_pairs(tmp_path / "a.parquet", LANGUAGES)


@pytest.mark.parametrize(
    ("column", "code", "is_same"),
    [("pt_BR", "pt-BR", True), ("PT-br", "pt-BR", True), ("pt", "pt-BR", False), ("zh-CN", "zh", False)],
)
def test_a_column_is_found_in_any_case_but_not_by_a_wider_or_narrower_code(
    tmp_path: Path, column: str, code: str, is_same: bool
) -> None:
    table = pa.table({"t": [{"en": "a", column: "b"}]})
    if is_same:
        pq.write_table(table, tmp_path / "a.parquet")
        assert read_pairs(tmp_path / "a.parquet", ("en", code)) == [("a", "b")]
    else:
        message = parquet_complaint(tmp_path, table, ("en", code))
        assert message.startswith(
            f"a.parquet has no column {code!r}; it has: t, t.en, t.{column}; if you mean {column!r}"
        )


def test_a_file_that_is_not_parquet_is_an_error(tmp_path: Path) -> None:
    assert complaint(tmp_path, "a.parquet", b"PAR1 no parquet").startswith("a.parquet could not be read as Parquet")
    assert complaint(tmp_path, "a.parquet", b"").startswith("a.parquet could not be read as Parquet")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("en;de\na;b\n", {"sep": ";"}),
        ("a|b\n", {"sep": "|", "names": ["en", "de"]}),
        ("x,y\na,b\n", {"names": ["en", "de"], "header": 0}),
        ("made by us\nen,de\na,b\n", {"skiprows": 1}),
        ("made by us\nen,de\na,b\n", {"header": 1}),
        ("en,de\n'a','b'\n", {"quotechar": "'"}),
        ("en, de\na, b\n", {"skipinitialspace": True, "keep_default_na": False}),
    ],
)
def test_the_options_of_a_card_are_followed(tmp_path: Path, text: str, options: dict[str, Any]) -> None:
    assert pairs(tmp_path, "a.csv", text, **options) == [("a", "b")]


def test_a_bad_line_that_a_card_skips_is_an_empty_pair_so_that_it_is_counted(tmp_path: Path) -> None:
    found = pairs(tmp_path, "a.csv", "en,de\nx,y,z\na,b\nx\n", on_bad_lines="skip")
    assert found == [("", ""), ("a", "b"), ("", "")]


def test_encoding_quoting_and_field_of_a_card_are_followed(tmp_path: Path) -> None:
    latin = "en,de\ncafé,b\n".encode("latin-1")
    assert pairs(tmp_path, "a.csv", latin, encoding="latin-1") == [("café", "b")]
    assert pairs(tmp_path, "a.csv", 'en,de\n"a,b"\n', quoting=3) == [('"a', 'b"')]
    assert pairs(tmp_path, "a.tsv", 'en\tde\n"a"\tb\n', quotechar='"') == [("a", "b")]
    whole = json.dumps({"data": [{"en": "a", "de": "b"}]}, indent=2)
    assert pairs(tmp_path, "a.json", whole, field="data") == [("a", "b")]
    assert "a list of objects in the field 'rows'" in complaint(tmp_path, "a.json", whole, field="rows")
    assert "no header, and names no columns" in complaint(tmp_path, "a.csv", "a,b\n", header=None)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv", {"sep": " ||| "}),
        ("a.csv", {"comment": "#"}),
        ("a.csv", {"encoding": "utf-16"}),
        ("a.csv", {"encoding": "klingon"}),
        ("a.csv", {"skiprows": [1, 2]}),
        ("a.csv", {"header": [0, 1]}),
        ("a.csv", {"quotechar": "''"}),
        ("a.jsonl", {"sep": ";"}),
        ("a.parquet", {"filters": [["en", "==", "a"]]}),
    ],
)
def test_an_unsupported_option_of_a_card_is_an_error(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    ((option, value),) = options.items()
    assert f"card sets {option}: {value!r}" in complaint(tmp_path, name, "en,de\na,b\n", **options)
