"""Data sets of the Hub, read by the real stage from a Hub on the loopback address, with and without faults."""

import gzip
import io
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.sources.hub import chosen_splits
from pipeline.plumbing.split_names import MEANT
from tests.downloading import Download, download
from tests.minihub import Fault, MiniHub, no_fault

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = b"""---
configs:
- config_name: de-en
  data_files:
  - split: train
    path: de-en/train-*
  - split: validation
    path: de-en/validation-*
  - split: test
    path: de-en/test-*
---
"""


def rows(name: str, count: int) -> list[dict[str, str]]:
    number = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    return [
        {"en": f"the {name} dog saw {number[i]} cats", "de": f"der {name} Hund sah {number[i]} Katzen"}
        for i in range(count)
    ]


def parquet(texts: list[dict[str, str]]) -> bytes:
    table = pa.table({"translation": pa.array(texts, pa.struct([("de", pa.string()), ("en", pa.string())]))})
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


PARQUET = {
    "README.md": CARD,
    "de-en/train-00000-of-00002.parquet": parquet(rows("old", 10)),
    "de-en/train-00001-of-00002.parquet": parquet(rows("young", 10)),
    "de-en/validation-00000-of-00001.parquet": parquet(rows("small", 3)),
    "de-en/test-00000-of-00001.parquet": parquet(rows("big", 4)),
}
JSON_LINES = {
    f"{split}.jsonl": "".join(json.dumps(row) + "\n" for row in rows(name, 5)).encode()
    for split, name in {"train": "old", "val": "small", "test": "big"}.items()
}


def table(texts: list[dict[str, str]], mark: str) -> bytes:
    return "".join(mark.join(row.values()) + "\n" for row in texts).encode()


def card(*splits: str, options: str = "") -> bytes:
    files = "".join(f"  - split: {name.partition('.')[0]}\n    path: {name}\n" for name in splits)
    return f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}{options}---\n".encode()


NO_PAUSES = "import time; time.sleep = lambda seconds: None"


def read(
    folder: Path,
    files: dict[str, bytes],
    fault: Fault = no_fault,
    large: bool = True,
    hub: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[Download, MiniHub]:
    with MiniHub("some/corpus", COMMIT, files, fault, large) as server:
        home = {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": "hf_secret"}
        settings = {"dataset": "some/corpus", **(hub or {})}
        return download(folder, home | (environment or {}), NO_PAUSES, source="hub", hub=settings), server


def fails_once(kind: str, part: str) -> Fault:
    """Return a fault for the first request of a path that contains `part`."""
    faults = [kind]

    def fault(method: str, path: str) -> str | None:
        return faults.pop() if faults and method == "GET" and part in path else None

    return fault


def test_a_column_with_translations_is_read_at_the_pinned_commit(tmp_path: Path) -> None:
    result, server = read(tmp_path, PARQUET, hub={"config": "de-en", "revision": COMMIT})
    assert result.status == 0, result.errors
    assert result.pairs("test") == [(row["en"], row["de"]) for row in rows("big", 4)]
    assert result.facts["splits"] == {"train": 20, "validation": 3, "test": 4}
    source = result.facts["sources"][0]
    assert (source["revision"], source["licence"], source["pairs"]) == (COMMIT, "cc-by-4.0", 10)
    files = [path for _, path in server.requests if "/resolve/" in path]
    assert files
    assert all(f"/resolve/{COMMIT}/" in path for path in files)
    assert server.authorizations == []  # HF_TOKEN is private, and not needed for public data


def test_a_branch_is_resolved_to_a_commit_and_recorded(tmp_path: Path) -> None:
    result, _ = read(tmp_path, JSON_LINES, large=False, hub={"revision": "main"})
    assert result.status == 0, result.errors
    assert result.facts["splits"] == {"train": 5, "validation": 5, "test": 5}
    assert {source["revision"] for source in result.facts["sources"]} == {COMMIT}


def test_the_type_translation_of_datasets_is_read(tmp_path: Path) -> None:
    features = datasets.Features({"translation": datasets.Translation(["de", "en"])})
    files = {"README.md": CARD}
    for path in PARQUET.keys() - {"README.md"}:
        made = datasets.Dataset.from_dict({"translation": rows(path[6:8], 4)}, features=features)
        made.to_parquet(tmp_path / "a.parquet")
        files[path] = (tmp_path / "a.parquet").read_bytes()
    result, _ = read(tmp_path, files, hub={"config": "de-en"})
    assert result.status == 0, result.errors
    assert result.pairs("test") == [(row["en"], row["de"]) for row in rows("te", 4)]


def test_the_options_of_a_card_apply_to_compressed_files(tmp_path: Path) -> None:
    names = {"train": "old", "validation": "small", "test": "big"}
    files = {f"{split}.csv.gz": gzip.compress(table(rows(name, 5), ";")) for split, name in names.items()}
    files["README.md"] = card(*files, options="  sep: ';'\n  names: [en, de]\n")
    result, _ = read(tmp_path, files)
    assert result.status == 0, result.errors
    assert result.pairs("test") == [(row["en"], row["de"]) for row in rows("big", 5)]
    assert result.facts["splits"] == {"train": 5, "validation": 5, "test": 5}


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_compressed_files_are_read_without_a_card(tmp_path: Path, kind: str) -> None:
    header = [{"en": "en", "de": "de"}] if kind == "tsv" else []
    files = {}
    for split, name in {"train": "old", "validation": "small", "test": "big"}.items():
        texts = [*header, *rows(name, 5)]
        lines = table(texts, "\t") if kind == "tsv" else "".join(json.dumps(row) + "\n" for row in texts).encode()
        files[f"{split}.{kind}.gz"] = gzip.compress(lines)
    result, _ = read(tmp_path, files)
    assert result.status == 0, result.errors
    assert result.facts["splits"] == {"train": 5, "validation": 5, "test": 5}


def test_a_split_named_dev_is_used_for_validation(tmp_path: Path) -> None:
    names = ("train", "dev", "newstest2019", "train_extra")
    lines = {f"{name}.jsonl": "".join(json.dumps(row) + "\n" for row in rows(name, 3)).encode() for name in names}
    result, _ = read(tmp_path, {**lines, "README.md": card(*lines)})
    assert result.status == 0, result.errors
    assert result.facts["splits"] == {"train": 3, "newstest2019": 3, "validation": 3}
    assert "dev is used as validation" in result.output
    assert "train_extra is left out" in result.output


@pytest.mark.parametrize("split", MEANT)
def test_every_other_name_of_a_split_is_recognised(split: str) -> None:
    reports: list[str] = []
    for word in MEANT[split]:
        assert chosen_splits({word: ["a"], "test": ["b"]}, reports.append) == {split: ["a"], "test": ["b"]}
        assert chosen_splits({f"{word}_2": ["a"], "test": ["b"]}, reports.append) == {"test": ["b"]}
        assert chosen_splits({word.upper(): ["a"], split: ["b"]}, reports.append) == {split: ["b"]}
    assert len(reports) == 3 * len(MEANT[split]) - 1  # the name of the split itself is not reported


def test_split_names_that_cannot_be_file_names_are_an_error(tmp_path: Path) -> None:
    lines = {f"{name}.jsonl": b'{"en": "a", "de": "b"}\n' for name in ("train", "Test", "test")}
    result, _ = read(tmp_path, {**lines, "README.md": card(*lines)})
    assert result.refused("'Test' and 'test' would be the same file", "download.files.splits")


@pytest.mark.parametrize(("kind", "large"), [("503", True), ("truncate", True), ("corrupt", True), ("corrupt", False)])
def test_a_download_is_repeated_after_a_temporary_fault(tmp_path: Path, kind: str, large: bool) -> None:
    path = "test.jsonl"
    result, server = read(tmp_path, JSON_LINES, fails_once(kind, f"resolve/{COMMIT}/{path}"), large)
    assert result.status == 0, result.errors
    assert result.pairs("test") == [(row["en"], row["de"]) for row in rows("big", 5)]
    assert sum(request == ("GET", f"/datasets/some/corpus/resolve/{COMMIT}/{path}") for request in server.requests) > 1


@pytest.mark.slow
def test_a_file_that_stays_corrupt_is_an_error_and_is_deleted(tmp_path: Path) -> None:
    def fault(method: str, path: str) -> str | None:
        return "corrupt" if path.endswith("test.jsonl") else None

    assert read(tmp_path, JSON_LINES, fault)[0].refused("test.jsonl", "digest")
    result, _ = read(tmp_path, JSON_LINES)
    assert result.status == 0, result.errors


@pytest.mark.parametrize(
    ("hub", "words"),
    [
        ({"dataset": "some/other"}, ("some/other", "does not exist")),
        ({"revision": "f" * 40}, ("no revision", "f" * 40)),
        ({"config": "fr-en"}, ("fr-en", "de-en")),
    ],
    ids=["dataset", "revision", "config"],
)
def test_a_missing_data_set_revision_or_config_is_an_error(
    tmp_path: Path, hub: dict[str, str], words: tuple[str, ...]
) -> None:
    assert read(tmp_path, PARQUET, hub=hub)[0].refused(*words)


def test_an_unreachable_hub_is_an_error_even_with_another_revision_in_the_cache(tmp_path: Path) -> None:
    assert read(tmp_path, JSON_LINES)[0].status == 0
    for path in (tmp_path / "build/test/corpus").iterdir():
        path.unlink()
    (tmp_path / "build/test/corpus").rmdir()
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home")}
    result = download(
        tmp_path, environment, NO_PAUSES, source="hub", hub={"dataset": "some/corpus", "revision": "e" * 40}
    )
    assert result.refused("Hub could not be read", "HF_ENDPOINT")
