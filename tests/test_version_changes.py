"""Only what differs between candidate and champion is listed: settings, data, code, parameters, size and speed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.artifacts import Manifest
from pipeline.plumbing.tracking.store import open_store
from pipeline.reviews.comparison import Speed
from pipeline.reviews.version_changes import VersionChange, find_version_changes
from pipeline.reviews.version_files import VersionFiles
from tests.registered import get, rewrite_record
from tests.reviews import CHAMPION

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def files(registry: Path, tmp_path: Path) -> tuple[VersionFiles, VersionFiles]:
    """The champion, version 1, and the candidate, version 2, which was trained with another seed."""
    client = open_store(registry)
    champion, candidate = (VersionFiles(client, get(client, n), tmp_path / str(n)) for n in (1, 2))
    return champion, candidate


def with_manifest(files: VersionFiles, build: Path, name: str, change: Change) -> VersionFiles:
    """Change a manifest in the store, and the record with its digest."""
    (path,) = (build / "mlartifacts").glob(f"*/{files.version.run_id}/artifacts/manifests/{name}.json")
    content = json.loads(path.read_bytes())
    del content["checksum"]
    change(content)
    manifest = Manifest(**content)
    path.write_text(json.dumps(content | {"checksum": manifest.checksum}))
    rewrite_record(build, files.client, int(files.version.version), **{name: manifest.digest})
    return again(files)


def again(files: VersionFiles) -> VersionFiles:
    """Return the version as it is in the registry now, without fetched files."""
    return VersionFiles(files.client, get(files.client, int(files.version.version)), files.directory / "again")


def told(champion: VersionFiles, candidate: VersionFiles) -> dict[str, tuple[str, str]]:
    changes = find_version_changes(candidate, champion, CHAMPION, CHAMPION)
    return {change.what: (change.champion, change.candidate) for change in changes}


def test_a_setting_that_differs_is_the_only_change(files: tuple[VersionFiles, VersionFiles]) -> None:
    champion, candidate = files
    assert find_version_changes(candidate, champion, CHAMPION, CHAMPION) == [VersionChange("seed", "1", "2")]
    assert find_version_changes(candidate, candidate, CHAMPION, CHAMPION) == []


def test_data_are_compared_by_counts_sources_licences_and_digest(
    files: tuple[VersionFiles, VersionFiles], registry: Path
) -> None:
    champion, candidate = files

    def change(content: dict[str, Any]) -> None:
        facts = content["facts"]
        facts["splits"] = {"train": 1234, "validation": 10, "news": 20}
        facts["sources"][0] |= {"version": "2.0", "licence": "GPL-3.0"}
        facts["sources"].append(
            {"name": "a set", "revision": "abcdef0123", "licence": "MIT", "sha256": "9", "pairs": 1}
        )

    found = told(champion, with_manifest(candidate, registry, "corpus", change))
    digest = again(candidate).record.corpus
    assert found == {
        "seed": ("1", "2"),
        "train pairs": ("40", "1,234"),
        "test pairs": ("10", "–"),
        "news pairs": ("–", "20"),
        "sources": ("catalogue-0 1.0", "a set abcdef01, catalogue-0 2.0"),
        "licences of the data": ("MIT", "GPL-3.0, MIT"),
        "corpus digest": (champion.corpus.digest[:8], digest[:8]),
    }


def test_commits_are_compared_together_with_the_code_that_trains(
    files: tuple[VersionFiles, VersionFiles], registry: Path
) -> None:
    champion, candidate = files
    client = candidate.client
    rewrite_record(registry, client, 1, commit="a" * 40)
    rewrite_record(registry, client, 2, commit=f"{'b' * 40}-dirty")
    champion, candidate = again(champion), again(candidate)
    assert told(champion, candidate)["code commit"] == (
        "aaaaaaaa",
        "bbbbbbbb with local changes (the same training code)",
    )

    def change(content: dict[str, Any]) -> None:
        content["stamp"]["code"] = {"pipeline/seq2seq/model.py": "1", "pipeline/seq2seq/loss.py": "1"}

    other = with_manifest(candidate, registry, "model", change)
    assert told(champion, other)["code commit"][1].endswith("(files of training code that differ: 2)")
    rewrite_record(registry, client, 2, commit="a" * 40)
    same = again(other)
    assert told(champion, same)["code commit"] == ("aaaaaaaa", "aaaaaaaa (files of training code that differ: 2)")


def test_figures_are_listed_if_they_differ_and_speed_if_it_differs_clearly(
    files: tuple[VersionFiles, VersionFiles],
) -> None:
    _, candidate = files

    def found(**figures: Any) -> list[VersionChange]:
        return find_version_changes(candidate, candidate, replace(CHAMPION, **figures), CHAMPION)

    assert found(parameters=2000, size_bytes=7_000_000) == [
        VersionChange("parameters", "1,000", "2,000"),
        VersionChange("package size", "5.0 MB", "7.0 MB"),
    ]
    assert found(size_bytes=5_000_001, speed=Speed(430.0, 9.5, 90.0)) == []
    told = VersionChange("speed", "400 sentences/s, 10.0 ms per sentence", "400 sentences/s, 12.0 ms per sentence")
    assert found(speed=Speed(400.0, 12.0, 30.0)) == [told]
    assert found(speed=Speed(0.0, 0.0, 0.0)) != []
    assert found(speed=None) == []
