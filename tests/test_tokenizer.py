"""The tokenizer: text survives encoding and decoding, special ids are fixed, training is reproducible, errors."""

import itertools
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.text import normal_form
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
from pipeline.scoring.metrics import Scorer
from tests.toy_corpus import sentence_pairs

LINES = [side for pair in sentence_pairs(300) for side in pair]
# Frequent enough to become pieces, which must not be confused with SentencePiece's own special pieces.
ODD = ["<0x41>", "<s>", "</s>", "<unk>", "▁", "½ m²", "…", "，", "ﬁ", "\N{ZERO WIDTH NON-JOINER}"] * 20
SETTINGS = TokenizerSettings(vocabulary_size=400)


@pytest.fixture(scope="module", params=itertools.product(["unigram", "bpe"], [True, False]), ids=str)
def any_tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer of each type, joint and with one model for each side."""
    kind, is_joint = request.param
    directory = tmp_path_factory.mktemp("tokenizer")
    of_kind = SETTINGS.model_copy(update={"type": kind})
    files = {JOINT: LINES + ODD} if is_joint else {SOURCE: LINES, TARGET: LINES + ODD}
    for name, lines in files.items():
        (directory / name).write_bytes(train_model(lines, of_kind))
    return Tokenizer.load(directory)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("tokenizer")
    (directory / JOINT).write_bytes(train_model(LINES, SETTINGS))
    return Tokenizer.load(directory)


# Any text, half of it made of characters that SentencePiece uses itself, changes by default, or splits at.
TEXTS = st.lists(
    st.characters(codec="utf-8") | st.sampled_from([*"▁▅⁇ \n\t\0\x85\u2028\u3000\xa0\u200c\u200d", *ODD]), max_size=30
).map("".join)


@settings(max_examples=400)
@given(TEXTS)
def test_decoding_an_encoded_text_gives_its_normal_form(any_tokenizer: Tokenizer, text: str) -> None:
    (ids,) = any_tokenizer.encode_target([text])
    assert UNK not in ids
    assert any_tokenizer.decode_target([ids]) == [normal_form(text)]
    assert ids == any_tokenizer.encode_target([normal_form(text)])[0]
    assert any_tokenizer.encode_source([text]) == any_tokenizer.encode_source([normal_form(text)])


@pytest.mark.slow
def test_every_character_survives_encoding_and_decoding(tokenizer: Tokenizer) -> None:
    texts = [normal_form(f"a{chr(code)}b") for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    assert tokenizer.decode_target(tokenizer.encode_target(texts)) == texts


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh", "你好，世界！面积是 30 m²（约½公顷）……对吗？"),
        ("zh", "请按“确定”；否则，数据会丢失：①保存②退出。"),
        ("fa", "می‌خواهم این کتاب‌ها را بخوانم، اما نمی‌توانم."),
        ("hi", "क्‍या आप ½ किलो दाल… चाहते हैं?"),
    ],
)
def test_a_perfect_translation_scores_100(tokenizer: Tokenizer, language: str, text: str) -> None:
    (perfect,) = tokenizer.decode_target(tokenizer.encode_target([text]))
    assert Scorer(["-"], [text], language).score([perfect]).bleu == 100


def test_pieces_show_a_literal_space_marker_of_the_text(any_tokenizer: Tokenizer) -> None:
    (ids,) = any_tokenizer.encode_target(["▁ tisk"])
    assert "".join(any_tokenizer.target_pieces(ids)) == "▁▁▁tisk</s>"


@given(TEXTS)
def test_normal_form_is_one_line_and_idempotent(text: str) -> None:
    normal = normal_form(text)
    assert len(normal.splitlines()) <= 1
    assert normal == normal_form(normal) == normal_form(f"\n {text}\u3000")
    assert normal.split(" ") == normal.split() or normal == ""


@given(st.lists(st.integers(0, 399), max_size=30))
def test_any_ids_decode_to_text_in_normal_form(tokenizer: Tokenizer, ids: list[int]) -> None:
    (text,) = tokenizer.decode_target([ids])
    assert text == normal_form(text)


def test_the_special_ids_are_0_to_3(tokenizer: Tokenizer) -> None:
    for processor in (tokenizer.source, tokenizer.target):
        ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        assert ids == (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert tokenizer.encode_source(["tha grenn tisk"])[0][-1] == EOS
    assert tokenizer.decode_target([[BOS, *tokenizer.encode_target(["tha grenn tisk"])[0], PAD]]) == ["tha grenn tisk"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_twice_gives_the_same_bytes(kind: str) -> None:
    of_kind = TokenizerSettings.model_validate({"vocabulary_size": 400, "type": kind})
    assert train_model(LINES, of_kind) == train_model(list(LINES), of_kind)


def test_source_and_target_may_have_separate_models(tmp_path: Path) -> None:
    (tmp_path / SOURCE).write_bytes(train_model(LINES, SETTINGS))
    (tmp_path / TARGET).write_bytes(train_model([line.upper() for line in LINES], SETTINGS))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode_source(["THA GRENN TISK"]) != tokenizer.encode_target(["THA GRENN TISK"])


@pytest.mark.parametrize(("lines", "size"), [(LINES, 9000), (["한국어", "日本語"], 261), ([], 300)])
def test_a_vocabulary_size_that_does_not_fit_the_text_is_an_error(lines: list[str], size: int) -> None:
    with pytest.raises(UserError, match=rf"tokenizer.vocabulary_size: got {size}.*SentencePiece says: .+"):
        train_model(lines, TokenizerSettings(vocabulary_size=size))


@pytest.mark.parametrize("line", ["ж" * (MAX_LINE_BYTES // 2 + 1), "a ▅ bar"], ids=["long", "reserved"])
def test_lines_that_sentencepiece_skips_are_counted(line: str) -> None:
    assert count_skipped(["é" * (MAX_LINE_BYTES // 2), "short", line]) == 1
    assert train_model([*LINES, line], SETTINGS) == train_model(LINES, SETTINGS)
