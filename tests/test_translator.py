"""Translation of text: independence of the batch, n-best lists, blank and unusual text, saving and loading."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_model

from pipeline.data.tokenizer import JOINT, Tokenizer, train_model
from pipeline.plumbing.params import ModelSettings, TokenizerSettings
from pipeline.seq2seq import translator as module
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.translator import DESCRIPTION, Translator, save_weights
from tests.decode_together import bits
from tests.toy_corpus import sentence_pairs

PAIRS = sentence_pairs(300)
SENTENCES = [source for source, _ in PAIRS]


def build(directory: Path, **kind: object) -> Translator:
    """Return a small untrained translator, saved and loaded."""
    torch.manual_seed(0)
    (directory / JOINT).write_bytes(
        train_model([side for pair in PAIRS for side in pair], TokenizerSettings(vocabulary_size=400))
    )
    size = Tokenizer.load(directory).target.vocab_size()
    model_settings = ModelSettings.model_validate({"embedding_size": 16, "hidden_size": 16} | kind)
    weights = Seq2Seq(model_settings, size, size).state_dict()
    save_weights(directory, {k: 2 * w for k, w in weights.items()}, model_settings, (size, size), source_language="qaa")
    return Translator.load(directory)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    return build(tmp_path_factory.mktemp("model"))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=12), st.integers(1, 3))
def test_a_translation_does_not_depend_on_the_other_sentences(
    translator: Translator, sentences: list[str], beam_size: int
) -> None:
    together = translator.translate(sentences, beam_size)
    for sentence, found in zip(sentences, together, strict=True):
        (alone,) = translator.translate([sentence], beam_size)
        assert (found.text, found.tokens) == (alone.text, alone.tokens)
        assert found.score == pytest.approx(alone.score, abs=1e-5)
        assert found.attention is not None
        assert alone.attention is not None
        np.testing.assert_allclose(found.attention, alone.attention, atol=1e-5)


def test_the_batch_size_changes_no_translation(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [t.text for t in translator.translate(SENTENCES[:60], 2)]
    monkeypatch.setattr(module, "BATCH_CELLS", 150)
    assert [t.text for t in translator.translate(SENTENCES[:60], 2)] == expected


def batches_of(lengths: list[int], beam_size: int, device: str = "cpu") -> list[list[int]]:
    return module._batches([[4] * length for length in lengths], beam_size, torch.device(device))


@given(st.lists(st.integers(1, 90), max_size=80), st.integers(1, 32), st.sampled_from(["cpu", "cuda"]))
def test_batches_hold_each_sentence_once_within_the_limits(lengths: list[int], beam_size: int, device: str) -> None:
    batches = batches_of(lengths, beam_size, device)
    most_cells, most_hypotheses = module.batch_limits(torch.device(device))
    # A blank sentence has one token, </s>.
    assert sorted(i for batch in batches for i in batch) == [i for i, length in enumerate(lengths) if length > 1]
    for batch in batches:
        cells = len(batch) * max(lengths[i] for i in batch) * beam_size
        is_within = cells <= most_cells and len(batch) * beam_size <= most_hypotheses
        assert len(batch) == 1 or is_within


def test_a_few_sentences_make_two_batches_of_about_the_same_size_so_that_two_cores_share_them() -> None:
    lengths = [30, 20, 11, 11, 10, 10, 10, 10]
    assert [len(batch) for batch in batches_of(lengths, 5)] == [3, 5]
    assert [len(batch) for batch in batches_of(lengths, 4)] == [8]  # one core translates so few as fast
    assert [len(batch) for batch in batches_of(lengths, 5, "cuda")] == [8]
    assert [len(batch) for batch in batches_of([10] * 900, 5, "cuda")] == [655, 245]
    assert batches_of([60, 60], 5) == [[0], [1]]
    assert batches_of([120], 5) == [[0]]
    assert [len(batch) for batch in batches_of([100] + [10] * 30, 10)] == [4, 27]  # the limits made two already


def test_the_number_of_threads_changes_nothing(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread computes whole batches, so the results are bit-identical."""
    monkeypatch.setattr(module, "BATCH_CELLS", 150)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([bits(t) for t in translator.translate(SENTENCES[:60], 2)])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_an_error_in_a_thread_reaches_the_caller(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> Any:
        raise MemoryError("no memory")

    monkeypatch.setattr(module, "search", fails)
    with pytest.raises(MemoryError, match="no memory"):
        translator.translate(SENTENCES[:3])


@pytest.mark.parametrize("tie", ["all", "target", "none"])
def test_a_loaded_model_translates_like_the_saved_one(tmp_path: Path, tie: str) -> None:
    translator = build(tmp_path, tie_embeddings=tie)
    again = Translator.load(tmp_path)
    assert [t.text for t in again.translate(SENTENCES[:5])] == [t.text for t in translator.translate(SENTENCES[:5])]
    assert json.loads((tmp_path / DESCRIPTION).read_text())["source_language"] == "qaa"


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from(["", *SENTENCES]), max_size=5), st.integers(1, 3), st.integers(1, 4))
def test_an_n_best_list_begins_with_the_best_translation(
    translator: Translator, sentences: list[str], n_best: int, beam_size: int
) -> None:
    found = translator.translate_n_best(sentences, n_best, beam_size)
    assert [bits(best[0]) for best in found] == [bits(t) for t in translator.translate(sentences, beam_size)]
    for sentence, best in zip(sentences, found, strict=True):
        assert len(best) == (min(n_best, beam_size) if sentence else 1)
        ranks = [(t.tokens[-1:] != ["</s>"], -t.score) for t in best]  # complete ones before those cut off
        assert ranks == sorted(ranks)
        assert len({tuple(t.tokens) for t in best}) == len(best)


def test_blank_sentences_stay_blank_and_keep_their_places(translator: Translator) -> None:
    texts = [t.text for t in translator.translate(["", SENTENCES[0], "  ", "\n"])]
    assert texts == ["", translator.translate([SENTENCES[0]])[0].text, "", ""]
    assert translator.translate([]) == []


@pytest.mark.parametrize("text", ["🙂" * 5, "한국어 문장", "\x00\x1b[31m", "a" * 3000, "word " * 400], ids=len)
def test_unusual_text_is_translated_without_an_error(translator: Translator, text: str) -> None:
    (translation,) = translator.translate([text], beam_size=2)
    assert isinstance(translation.text, str)


def test_attention_has_a_row_for_each_token_and_a_column_for_each_source_token(translator: Translator) -> None:
    for translation in translator.translate(SENTENCES[:6], beam_size=3):
        assert translation.attention is not None
        assert translation.attention.shape == (len(translation.tokens), len(translation.source_tokens))
        np.testing.assert_allclose(translation.attention.sum(1), 1, atol=1e-5)


def test_a_model_without_attention_returns_no_attention(tmp_path: Path) -> None:
    (translation,) = build(tmp_path, attention="none").translate(SENTENCES[:1])
    assert translation.attention is None
    assert translation.tokens


@pytest.mark.parametrize("tying", ["none", "target", "all"])
def test_the_same_weights_are_always_saved_as_the_same_bytes(
    tmp_path: Path, tying: Literal["none", "target", "all"]
) -> None:
    """Tied weights have several names; their order in the file must not be random."""
    small = ModelSettings(embedding_size=8, hidden_size=8, tie_embeddings=tying)
    torch.manual_seed(1)
    weights = Seq2Seq(small, 20, 20).state_dict()
    written = set()
    for n in range(8):
        (tmp_path / str(n)).mkdir()
        save_weights(tmp_path / str(n), weights, small, (20, 20))
        written.add((tmp_path / str(n) / "weights.safetensors").read_bytes())
    assert len(written) == 1
    loaded = Seq2Seq(small, 20, 20)
    load_model(loaded, tmp_path / "0" / "weights.safetensors")
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)
