"""Leaks are found for both systems, on either side, in every test set; a system that cannot be checked is named."""

from pathlib import Path

import pytest

from pipeline.data import fingerprints as module
from pipeline.data.fingerprints import fingerprints
from pipeline.data.keys import keys
from pipeline.reviews.leaks import find_leaks
from pipeline.reviews.test_sets import TestSet

NEWS = TestSet(
    "news", ["Open it now", "Close it now", "Save it now"], ["Öffne es jetzt", "Schließ es jetzt", "Ok"], {}, "settings"
)
MAIL = TestSet("mail", ["Send it now"], ["Schick es jetzt"], {}, "settings")


def write(path: Path, sources: list[str], targets: list[str]) -> Path:
    path.write_bytes(fingerprints([(sources, targets)]))
    return path


def test_leaks_are_found_for_both_systems_on_both_sides_in_every_test_set(tmp_path: Path) -> None:
    candidate = write(tmp_path / "candidate.npz", ["open IT now!"], ["ok"])
    champion = write(tmp_path / "champion.npz", ["Open it now"], ["schließ es jetzt.", "Schick es jetzt"])
    leaks, kept = find_leaks([NEWS, MAIL], {"candidate": candidate, "opponent": champion})
    assert leaks.counts == {"candidate": {"news": 1, "mail": 0}, "opponent": {"news": 2, "mail": 1}}
    assert leaks.test_sets == {"news": 3, "mail": 1}
    assert leaks.left_out == {"news": 2, "mail": 1}
    assert kept == {"news": [2], "mail": []}
    assert leaks.unchecked == []
    assert [(leak.system, leak.test_set, leak.line, leak.side, leak.text) for leak in leaks.examples] == [
        ("candidate", "news", 1, "source", "Open it now"),
        ("opponent", "news", 1, "source", "Open it now"),
        ("opponent", "news", 2, "target", "Schließ es jetzt"),
        ("opponent", "mail", 1, "target", "Schick es jetzt"),
    ]


def test_a_system_without_readable_fingerprints_is_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(module, "keys", lambda texts: [key.title() for key in keys(texts)])  # as keys were made once
        candidate = write(tmp_path / "candidate.npz", ["open IT now!"], [])
    leaks, kept = find_leaks([NEWS], {"candidate": candidate})
    assert leaks.unchecked == ["candidate"]
    assert leaks.counts == {}
    assert kept == {"news": [0, 1, 2]}
