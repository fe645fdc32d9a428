"""A corpus of local files, read by the real stage: every format, and an error of one line for each mistake."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.downloading import Download, download

TRAIN = [
    ("the old dog sleeps", "der alte Hund schläft"),
    ("null", "nichts"),
    ('she said "good morning" to me', 'sie sagte "guten Morgen" zu mir'),
    ("a cat, and a dog", "eine Katze, und ein Hund"),
]
TEST = [("two birds sing here", "zwei Vögel singen hier")]


def write(folder: Path, kind: str, name: str, pairs: list[tuple[str, str]]) -> Any:
    """Write the pairs to one or two files, and return the value of the setting."""
    file = folder / f"{name}.{kind}"
    rows = [{"en": source, "de": target, "id": str(i)} for i, (source, target) in enumerate(pairs)]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([{"translation": row} for row in rows]), file)
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "csv":
        quoted = [[value.replace('"', '""') for value in row.values()] for row in rows]
        lines = ["en,de,id"] + [",".join(f'"{value}"' for value in row) for row in quoted]
        file.write_text(
            "\n".join(lines) + "\n", encoding="utf-8-sig"
        )  # with a byte order mark, as spreadsheets write it
    elif kind == "tsv":
        lines = ["en\tde\tid"] + ["\t".join(row.values()) for row in rows]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        for side in ("en", "de"):
            (folder / f"{name}.{side}").write_text("".join(row[side] + "\n" for row in rows), encoding="utf-8")
        return {"source": f"${{CORPUS}}/{name}.en", "target": f"${{CORPUS}}/{name}.de"}
    return f"${{CORPUS}}/{file.name}"


def read(folder: Path, splits: dict[str, Any], **settings: Any) -> Download:
    files = {"splits": splits, "licence": "CC0-1.0"}
    return download(folder, {"CORPUS": str(folder)}, source="files", files=files, **settings)


def test_dropped_pairs_are_listed_if_there_are_any(tmp_path: Path) -> None:
    splits = {"train": write(tmp_path, "tsv", "train", TRAIN), "news": write(tmp_path, "tsv", "news", TEST)}
    splits["validation"] = splits["news"]
    whole = read(tmp_path, splits)
    assert whole.output.splitlines() == ["download: en to de, pairs: news 1, validation 1, train 4"]
    splits["train"] = write(tmp_path, "tsv", "more", [*TRAIN, TRAIN[0]])
    assert read(tmp_path, splits).output.splitlines()[-1] == "download: pairs dropped: duplicate 1"


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "tsv", "txt"])
def test_every_format_gives_the_same_pairs(tmp_path: Path, kind: str) -> None:
    splits = {name: write(tmp_path, kind, name, pairs) for name, pairs in {"train": TRAIN, "news": TEST}.items()}
    splits["validation"] = splits["news"]
    result = read(tmp_path, splits)
    assert result.status == 0, result.errors
    assert (sorted(result.pairs("train")), result.pairs("news")) == (sorted(TRAIN), TEST)
    assert result.facts["splits"] == {"train": 4, "news": 1, "validation": 1}
    assert str(tmp_path) not in json.dumps(result.facts)
    assert {source["licence"] for source in result.facts["sources"]} == {"CC0-1.0"}


def test_a_glob_joins_files_and_missing_splits_are_cut_from_train(tmp_path: Path) -> None:
    for part in range(3):
        pairs = [(f"a {chr(97 + part)}{chr(97 + i)} dog", f"ein {chr(97 + part)}{chr(97 + i)} Hund") for i in range(8)]
        write(tmp_path, "jsonl", f"part-{part}", pairs)
    result = read(tmp_path, {"train": "${CORPUS}/part-*.jsonl"}, validation_pairs=3, test_pairs=4)
    assert result.status == 0, result.errors
    assert result.facts["splits"] == {"train": 17, "validation": 3, "test": 4}
    assert sum(source["pairs"] for source in result.facts["sources"]) == 24


def test_held_out_splits_are_kept_whole_and_leaks_are_removed_from_train(tmp_path: Path) -> None:
    held_out = [*TEST, *TEST, ("Ok", "Ok")]
    splits = {"train": [*TRAIN, ("Two birds sing, here!", "Vögel!")], "validation": TEST, "test": held_out}
    result = read(tmp_path, {name: write(tmp_path, "jsonl", name, pairs) for name, pairs in splits.items()})
    assert result.status == 0, result.errors
    assert (sorted(result.pairs("train")), result.pairs("test")) == (sorted(TRAIN), held_out)
    assert result.facts["dropped"]["source_leak"] == 1


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    splits = {name: write(tmp_path, "csv", name, TEST) for name in ("validation", "test")}
    for pairs in (TRAIN, TRAIN[:2]):
        splits["train"] = write(tmp_path, "csv", "train", pairs)
        assert sorted(read(tmp_path, splits).pairs("train")) == sorted(pairs)


def test_a_variable_that_is_not_set_is_an_error_with_the_line_to_type(tmp_path: Path) -> None:
    result = read(tmp_path, {"train": "${NO_SUCH_VARIABLE}/train.jsonl"})
    assert result.refused("files.splits.train", "export NO_SUCH_VARIABLE=")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    assert read(tmp_path, {"train": "${CORPUS}/none-*.csv"}).refused("none-*.csv")
    two = {"source": "${CORPUS}/none.en", "target": "${CORPUS}/none.de"}
    assert read(tmp_path, {"train": two}).refused("none.en")


def test_a_missing_column_is_an_error_that_lists_the_columns(tmp_path: Path) -> None:
    for kind, names in [("parquet", "translation.en, translation.de"), ("csv", "en, de, id")]:
        splits = {"train": write(tmp_path, kind, "train", TRAIN)}
        assert read(tmp_path, splits, target_language="fr").refused("'fr'", names)


def test_aligned_files_of_different_lengths_are_an_error(tmp_path: Path) -> None:
    value = write(tmp_path, "txt", "train", TRAIN)
    with open(tmp_path / "train.de", "a", encoding="utf-8") as file:
        file.write("noch eine Zeile\n")
    assert read(tmp_path, {"train": value}).refused("4 lines", "5")


def test_bytes_that_are_not_utf_8_are_an_error_with_their_line(tmp_path: Path) -> None:
    for kind, name in [("txt", "train.de"), ("csv", "train.csv"), ("jsonl", "train.jsonl")]:
        value = write(tmp_path, kind, "train", [("dog", "Hund")] * 3)
        lines = (tmp_path / name).read_bytes().splitlines(keepends=True)
        lines[2] = lines[2].replace(b"Hund", "Hündin".encode("latin-1"))
        (tmp_path / name).write_bytes(b"".join(lines))
        assert read(tmp_path, {"train": value}).refused(f"{name}, line 3", "0xfc")


@pytest.mark.parametrize("kind", ["txt", "parquet"])
def test_a_side_without_text_is_an_error(tmp_path: Path, kind: str) -> None:
    value = write(tmp_path, kind, "train", [("dog", " "), ("cat", "")])
    assert read(tmp_path, {"train": value}).refused("de", "all 2 rows are empty")


def test_a_damaged_file_and_an_unknown_suffix_are_errors(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    assert read(tmp_path, {"train": "${CORPUS}/train.parquet"}).refused("train.parquet could not be read")
    (tmp_path / "train.xlsx").write_bytes(b"PK")
    assert read(tmp_path, {"train": "${CORPUS}/train.xlsx"}).refused("'.xlsx'", ".parquet")


def test_a_corpus_too_small_for_its_splits_is_an_error(tmp_path: Path) -> None:
    value = write(tmp_path, "jsonl", "train", TRAIN)
    result = read(tmp_path, {"train": value}, validation_pairs=2, test_pairs=2)
    assert result.refused("4 different source sentences", "download.test_pairs")
