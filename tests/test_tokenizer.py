"""SentencePiece as the pipeline uses it: round trips, fixed special ids, the same model twice, clear errors."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.tokenizer import (
    BOS,
    EOS,
    JOINT,
    MAX_LINE_BYTES,
    PAD,
    SOURCE,
    TARGET,
    UNK,
    Tokenizer,
    count_skipped,
    train_model,
)
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import TokenizerSettings
from tests.toy_corpus import sentence_pairs

LINES = [side for pair in sentence_pairs(300) for side in pair]
SETTINGS = TokenizerSettings(vocabulary_size=400)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("tokenizer")
    (directory / JOINT).write_bytes(train_model(LINES, SETTINGS))
    return Tokenizer.load(directory)


def _spaces(text: str) -> str:
    return " ".join(text.split())


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Co", "Cn", "Zl", "Zp")), max_size=30))
def test_text_comes_back_after_normalisation(tokenizer: Tokenizer, text: str) -> None:
    """Byte fallback: letters, emoji and scripts that the model never saw come back too."""
    normalised = _spaces(tokenizer.source.normalize(text).replace("▁", " "))
    (ids,) = tokenizer.encode_target([text])
    assert UNK not in ids
    assert _spaces(tokenizer.decode_target([ids])[0]) == normalised
    if text.isascii():
        assert normalised == _spaces(unicodedata.normalize("NFKC", text))


def test_special_ids_are_where_the_model_expects_them(tokenizer: Tokenizer) -> None:
    for processor in (tokenizer.source, tokenizer.target):
        ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        assert ids == (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert tokenizer.encode_source(["tha grenn tisk"])[0][-1] == EOS
    assert tokenizer.decode_target([[BOS, *tokenizer.encode_target(["tha grenn tisk"])[0], PAD]]) == ["tha grenn tisk"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_text_gives_the_same_bytes(kind: str) -> None:
    settings = TokenizerSettings.model_validate({"vocabulary_size": 400, "type": kind})
    assert train_model(LINES, settings) == train_model(list(LINES), settings)


def test_one_model_a_side(tmp_path: Path) -> None:
    (tmp_path / SOURCE).write_bytes(train_model(LINES, SETTINGS))
    (tmp_path / TARGET).write_bytes(train_model([line.upper() for line in LINES], SETTINGS))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode_source(["THA GRENN TISK"]) != tokenizer.encode_target(["THA GRENN TISK"])


@pytest.mark.parametrize(("lines", "size"), [(LINES, 9000), (["한국어", "日本語"], 100), ([], 300)])
def test_a_vocabulary_that_the_text_cannot_carry_is_named(lines: list[str], size: int) -> None:
    with pytest.raises(UserError, match=rf"tokenizer.vocabulary_size: got {size}.*SentencePiece says: .+"):
        train_model(lines, TokenizerSettings(vocabulary_size=size))


def test_lines_that_sentencepiece_skips_are_counted_in_bytes() -> None:
    at_limit = "é" * (MAX_LINE_BYTES // 2)
    assert count_skipped([at_limit, at_limit + "e", "short"]) == 1
    alone = train_model([*LINES, "ж" * (MAX_LINE_BYTES // 2 + 1)], SETTINGS)
    assert alone == train_model(LINES, SETTINGS)
