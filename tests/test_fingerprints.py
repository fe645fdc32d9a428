"""Fingerprints of training sentences: they find every trivial variant, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.fingerprints import find_known, fingerprints
from pipeline.data.splitting import key

TEXTS = st.lists(st.text(max_size=20), max_size=20)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fingerprints") / "known.npy"


def test_variants_of_a_sentence_are_found_and_others_are_not(path: Path) -> None:
    path.write_bytes(fingerprints(["Open the file %s.", "Close the window", "Close the window"]))
    assert find_known(path, ["open THE file {name}!", "Open a file", "Close the window", ""]) == [0, 2]
    assert np.load(path, allow_pickle=False).dtype == np.uint64
    assert len(np.load(path)) == 2


@given(known=TEXTS, asked=TEXTS)
def test_it_finds_what_has_an_equal_key(path: Path, known: list[str], asked: list[str]) -> None:
    path.write_bytes(fingerprints(known))
    keys = {key(text) for text in known}
    assert find_known(path, asked) == [i for i, text in enumerate(asked) if key(text) in keys]
