"""Fingerprints of training sentences: they match trivial variants and nothing else; bad files are errors."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import fingerprints as module
from pipeline.data.fingerprints import find_known, fingerprints
from pipeline.data.keys import keys
from pipeline.plumbing.errors import UserError

TEXTS = st.lists(st.text(max_size=20), max_size=20)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fingerprints") / "known.npz"


def test_variants_of_a_sentence_are_found_on_both_sides(path: Path) -> None:
    path.write_bytes(
        fingerprints([(["Open the file %s.", "Close the window", "Close the window"], ["Das Fenster zu", "Ok"])])
    )
    sources = ["open THE file {name}!", "Open a file", "Shut it", "Fine", ""]
    targets = ["das Fenster auf", "", "„das Fenster“ zu.", "OK", ""]
    assert find_known(path, sources, targets) == {0: "source", 2: "target"}  # "Ok" is too short to count
    with np.load(path) as known:
        assert known["source"].dtype == np.uint64
        assert [len(known[side]) for side in ("source", "target")] == [2, 2]


@given(known=TEXTS, asked=TEXTS)
def test_sentences_with_equal_keys_are_found(path: Path, known: list[str], asked: list[str]) -> None:
    path.write_bytes(fingerprints([(known, [])]))
    there = set(keys(known))
    found = find_known(path, asked, [""] * len(asked))
    assert found == {i: "source" for i, key in enumerate(keys(asked)) if key in there}


def test_fingerprints_made_with_another_rule_for_keys_give_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        # A rule that ignores a combining mark.
        before.setattr(module, "keys", lambda texts: keys([text.replace("दिल", "दल") for text in texts]))
        path.write_bytes(fingerprints([(["Open the file"], [])]))
    assert find_known(path, ["Open the file"], [""]) is None


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("source.npy", "w") as member:
        for _ in range(8):
            member.write(bytes(1 << 20))


def _array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(9, np.uint64))


def _claim(path: Path) -> None:
    """Write an array whose header claims that it is larger than any memory."""
    header = b"{'descr': '<u8', 'fortran_order': False, 'shape': (%d,)}\n" % (1 << 60)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("source", "target", "probe"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    "write",
    [
        _bomb,
        _claim,
        lambda path: path.write_bytes(b"junk"),
        lambda path: path.write_bytes(fingerprints([(["Open the file"], [])])[:-30]),
        _array,
        lambda path: np.savez(path, source=np.zeros(1, np.uint64)),
        lambda path: np.savez(path, source=np.zeros(1), target=np.zeros(1), probe=np.zeros(1)),
        lambda path: np.savez(path, source=np.array([{}]), target=np.zeros(1), probe=np.zeros(1)),
    ],
)
def test_a_file_of_another_format_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(module, "LARGEST", 4 << 20)
    write(tmp_path / "known.npz")
    with pytest.raises(UserError, match=r"^known.npz: not the fingerprints of a training corpus: .*: make register"):
        find_known(tmp_path / "known.npz", ["Open the file"], [""])


def test_a_file_that_is_too_large_when_unpacked_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 4 << 20)
    _bomb(tmp_path / "known.npz")
    with pytest.raises(UserError, match=r"8,388,608 bytes when unpacked, expected at most 4,194,304"):
        find_known(tmp_path / "known.npz", [], [])
