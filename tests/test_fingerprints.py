"""Fingerprints of training sentences: they find every trivial variant, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import fingerprints as module
from pipeline.data.fingerprints import find_known, fingerprints
from pipeline.data.splitting import key

TEXTS = st.lists(st.text(max_size=20), max_size=20)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fingerprints") / "known.npz"


def test_variants_of_a_sentence_are_found_on_either_side_and_others_are_not(path: Path) -> None:
    path.write_bytes(
        fingerprints(["Open the file %s.", "Close the window", "Close the window"], ["Das Fenster zu", "Ok"])
    )
    sources = ["open THE file {name}!", "Open a file", "Shut it", "Fine", ""]
    targets = ["das Fenster auf", "", "„das Fenster“ zu.", "OK", ""]
    assert find_known(path, sources, targets) == {0: "source", 2: "target"}  # "Ok" is no sentence
    with np.load(path) as known:
        assert known["source"].dtype == np.uint64
        assert [len(known[side]) for side in ("source", "target")] == [2, 2]


@given(known=TEXTS, asked=TEXTS)
def test_it_finds_what_has_an_equal_key(path: Path, known: list[str], asked: list[str]) -> None:
    path.write_bytes(fingerprints(known, []))
    keys = {key(text) for text in known}
    found = find_known(path, asked, [""] * len(asked))
    assert found == {i: "source" for i, text in enumerate(asked) if key(text) in keys}


def test_of_digests_made_by_another_rule_nothing_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(module, "key", lambda text: key(text.replace("दिल", "दल")))  # as if marks were left out
        path.write_bytes(fingerprints(["Open the file"], []))
    assert find_known(path, ["Open the file"], [""]) is None
