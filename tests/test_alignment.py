"""Attention's links and those of a statistical aligner, each compared with an obvious computation."""

import random
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
import torch

from pipeline.data.tokenizer import BOS
from pipeline.study import alignment
from tests.test_study import REFERENCES, SOURCES, Tokens, family, member


def test_alignment_errors_are_links_that_only_one_side_has() -> None:
    links = [{(0, 0), (1, 1)}, {(0, 2)}]
    assert alignment.error_rate(links, links) == 0
    assert alignment.error_rate([{(1, 0)}, set()], links) == 1
    assert alignment.error_rate([{(0, 0), (0, 1)}, {(0, 2)}], links) == pytest.approx(1 - 2 * 2 / 6)
    assert alignment.error_rate([], []) == 0


def test_the_diagonal_links_each_target_piece_to_its_share_of_the_source() -> None:
    assert alignment.diagonal(2, 4) == {(0, 0), (0, 1), (1, 2), (1, 3)}
    assert alignment.diagonal(4, 2) == {(0, 0), (2, 1)}
    assert alignment.diagonal(0, 2) == set()


@pytest.mark.parametrize("attention", ["dot", "multihead"])
def test_attention_links_each_reference_piece_to_the_source_piece_with_most_weight(attention: str) -> None:
    found = family(member(attention=attention))
    links = alignment.attended(found, found.members[0])
    tokens, model = Tokens(), found.members[0].model
    for pair, source, reference in zip(links, SOURCES, REFERENCES, strict=True):
        (ids,), (target,) = tokens.encode_source([source]), tokens.encode_target([reference])
        encoded = model.encode(torch.tensor([ids]), torch.tensor([len(ids)]))
        state, read, expected = model.decoder.initial_state(encoded), BOS, set()
        for t, token in enumerate(target[:-1]):
            _, weights, state = model.decode(torch.tensor([[read]]), encoded, state)
            s, read = int(weights[0, 0].argmax()), token
            if s < len(ids) - 1:
                expected.add((s, t))
        assert pair == expected


def test_the_aligner_finds_the_words_of_a_toy_language(tmp_path: Path) -> None:
    pytest.importorskip(alignment.ALIGNER)
    draw = random.Random(1)
    sources = [" ".join(f"w{draw.randint(4, 9)}" for _ in range(draw.randint(2, 6))) for _ in range(400)]
    targets = [
        " ".join(f"w{int(word[1:]) + 7}" for word in (*words[1:], words[0])) for words in map(str.split, sources)
    ]
    pyarrow.parquet.write_table(pyarrow.table({"source": sources, "target": targets}), tmp_path / "train.parquet")
    found = family(member())
    found.sentences = (["w4 w5 w6", "w7"], ["w12 w13 w11", "w14"])
    corpus = SimpleNamespace(path=lambda name: tmp_path / name)
    found.first = SimpleNamespace(
        translator=found.members[0].translator, evaluated=SimpleNamespace(artifacts={"corpus": corpus})
    )
    assert alignment.aligned(found) == [{(0, 2), (1, 0), (2, 1)}, {(0, 0)}]


def test_each_member_that_attends_is_compared_with_the_aligner(monkeypatch: pytest.MonkeyPatch) -> None:
    found = family(member(attention="dot"), member(attention="none"), member(attention="additive"))
    found.first = found.members[0]
    monkeypatch.setattr(alignment, "find_spec", lambda name: object())
    monkeypatch.setattr(alignment, "aligned", lambda family: alignment.attended(family, found.members[2]))
    compared = alignment.agreement(found)
    assert compared is not None
    assert list(compared.members) == [found.members[0].name, found.members[2].name]
    assert compared.members[found.members[2].name] == 0
    monkeypatch.setattr(alignment, "find_spec", lambda name: None)
    assert alignment.agreement(found) is None
