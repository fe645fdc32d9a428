"""Requests to the packaged translator: the params, the answers, and that no content makes it crash."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from pipeline.registry.limits import CHARACTERS, PIECES
from pipeline.registry.request import MAX_SENTENCES
from pipeline.seq2seq.translator import Translator
from tests import published

TEXTS = published.SENTENCES
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def loaded(package: Path) -> Any:
    return mlflow.pyfunc.load_model(str(package))


def refusal(loaded: Any, sentences: Any, params: Any = None) -> str:
    with pytest.raises(MlflowException) as caught:
        loaded.predict(sentences, params=params)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    return str(caught.value.message)


def test_n_best_translations_are_those_of_the_translator(loaded: Any, tiny_model: Path) -> None:
    local = Translator.load(tiny_model).translate_n_best(TEXTS, 3, 4, 0.5)
    params = {"beam_size": 4, "length_penalty": 0.5, "n_best": 3}
    given = loaded.predict(TEXTS, params=params)
    assert given == [
        [{"text": t.text, "score": t.score, "tokens": t.tokens, "source_tokens": t.source_tokens} for t in best]
        for best in local
    ]
    assert [best[0]["text"] for best in given] == loaded.predict(TEXTS, params=params | {"n_best": 0})
    assert all(len(best) == 3 for best in given)
    for best, with_attention in zip(local, loaded.predict(TEXTS, params=params | {"attention": True}), strict=True):
        for translation, shown in zip(best, with_attention, strict=True):
            assert translation.attention is not None
            np.testing.assert_allclose(shown["attention"], translation.attention, atol=1e-6)


def test_a_blank_sentence_has_one_blank_translation(loaded: Any) -> None:
    params = {"n_best": 2, "attention": True}
    blank = {"text": "", "score": 0.0, "tokens": [], "source_tokens": [], "attention": []}
    first, *others = loaded.predict([TEXTS[0], "", " \n"], params=params)
    assert len(first) == 2
    assert others == [[blank], [blank]]


@pytest.mark.parametrize(
    ("sentences", "said"),
    [
        (["a"] * (MAX_SENTENCES + 1), "got 10,001 sentences, expected at most 10,000"),
        (["a", "b" * (CHARACTERS + 1)], r"sentences[1], 'bbbb"),
        (["a", "b" * (CHARACTERS + 1)], "got 2,001 characters, expected at most 2,000"),
        (["🙂" * (PIECES // 4 + 1)], "pieces after tokenising, expected at most 512"),
        (["fine", "half \udc80"], r"sentences[1]: got '\udc80' at character 5, half of a surrogate pair"),
        ([None], "Expected type str, but got NoneType"),
        ([1.5], "Expected type str, but got float"),
        ([["nested"]], "Expected type str, but got list"),
        ("bare", "Expected list, but got str"),
        (None, "Expected list, but got NoneType"),
        (pd.DataFrame({"n": [1, 2]}), "Expected model input to contain at least one string column"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_sentences_beyond_the_limits_are_named(loaded: Any, sentences: Any, said: str) -> None:
    assert said in refusal(loaded, sentences)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"beam_size": 0}, "beam_size: got 0, expected a whole number from 1 to 32"),
        ({"beam_size": 33}, "beam_size: got 33"),
        ({"beam_size": 10**400}, "beam_size: got 1000"),
        ({"beam_size": None}, "beam_size: got None"),
        ({"beam_size": True}, "beam_size"),
        ({"beam_size": 2.0}, "beam_size"),
        ({"beam_size": "2"}, "beam_size"),
        ({"n_best": -1}, "n_best: got -1, expected a whole number from 0 to beam_size, which is 2"),
        ({"n_best": 3}, "n_best: got 3"),
        ({"length_penalty": float("nan")}, "length_penalty: got nan, expected a number from 0 to 10"),
        ({"length_penalty": float("inf")}, "length_penalty: got inf"),
        ({"length_penalty": -0.1}, "length_penalty: got -0.1"),
        ({"length_penalty": 10.1}, "length_penalty: got 10.1"),
        ({"attention": 1, "n_best": 1}, "attention"),
        ({"attention": True}, "attention: got True, expected false, or n_best of 1 or more"),
        (["beam_size"], "Parameters must be a dictionary"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_params_beyond_the_limits_are_named(loaded: Any, params: Any, said: str) -> None:
    message = refusal(loaded, TEXTS, params)
    assert said in message
    assert len(message) < 300


def test_attention_that_would_fill_the_memory_is_refused(loaded: Any) -> None:
    message = refusal(loaded, ["word " * 100] * 100, {"beam_size": 8, "n_best": 8, "attention": True})
    assert message.startswith("attention: about ")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(), max_size=30), max_size=4))
def test_any_text_is_translated_or_named_in_the_error(loaded: Any, texts: list[str]) -> None:
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        assert "half of a surrogate pair" in refusal(loaded, texts)
    else:
        assert [type(text) for text in loaded.predict(texts)] == [str] * len(texts)


@settings(deadline=None, max_examples=60)
@given(JSON, st.none() | st.dictionaries(st.sampled_from([*published.PARAMS, "other"]), JSON, max_size=3))
def test_any_types_are_translated_or_refused(loaded: Any, sentences: Any, params: Any) -> None:
    with suppress(MlflowException):
        assert len(loaded.predict(sentences, params=params)) == len(sentences)


def test_values_at_the_limits_are_allowed(loaded: Any) -> None:
    assert len(loaded.predict(["open"] * 3, params={"beam_size": 32, "n_best": 32, "length_penalty": 10})) == 3
    assert loaded.predict([" " * CHARACTERS] * MAX_SENTENCES) == [""] * MAX_SENTENCES
