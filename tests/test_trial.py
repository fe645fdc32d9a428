"""Models that take turns: every text at its place and on one line, the unknown counted, the time of each its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.registry.consumer import Consumer
from pipeline.reviews.trial import SINGLES, TURN, try_models


@dataclass
class Model:
    """Stands in for a consumer, which a trial only asks to translate: answers at once, and says how long it took."""

    name: str
    pace: float  # seconds a sentence
    asked: list[tuple[Sequence[str], dict[str, Any]]] = field(default_factory=list)

    def translate(self, sentences: Sequence[str], **params: Any) -> tuple[list[Any], float]:
        self.asked.append((sentences, params))
        texts = [f"{self.name}: {sentence}\u2028\n of two lines" for sentence in sentences]
        answers = [[{"text": t, "source_tokens": s.split()}] for t, s in zip(texts, sentences, strict=True)]
        return (answers if params.get("n_best") else texts), self.pace * len(sentences)


@pytest.fixture
def models() -> dict[str, Model]:
    return {"candidate": Model("ours", 0.01), "opponent": Model("theirs", 0.02)}


SETS = {"long": [f"sentence {n}" for n in range(2 * TURN + 3)], "short": ["a <unk> <0xE2> b", "<0xE2>b <0xZZ> c d"]}


def test_texts_keep_their_order_and_are_one_line_each(models: dict[str, Model]) -> None:
    advanced: list[int] = []
    trials = try_models(cast(dict[str, Consumer], models), SETS, advanced.append)
    for name, said in (("candidate", "ours"), ("opponent", "theirs")):
        assert trials[name].texts == {
            test_set: [f"{said}: {source} of two lines" for source in sources] for test_set, sources in SETS.items()
        }
    assert sum(advanced) == 2 * sum(map(len, SETS.values()))


def test_unknown_pieces_and_bytes_are_counted_of_the_sources(models: dict[str, Model]) -> None:
    trials = try_models(cast(dict[str, Consumer], models), SETS, lambda _: None)
    assert trials["candidate"].unknown_pieces == {"long": 0.0, "short": 0.25}


def test_a_model_that_gives_no_hypotheses_is_named(models: dict[str, Model]) -> None:
    class Old(Model):
        def translate(self, sentences: Sequence[str], **params: Any) -> tuple[list[Any], float]:
            return list(sentences), 0.1

    old = cast(Consumer, Old("version 1 of x", 0.1))
    with pytest.raises(UserError, match=r"version 1 of x answers n_best=1 with 'sentence 0'.*register the model again"):
        try_models({"only": old}, SETS, lambda _: None)


def test_each_has_its_own_speed_and_they_take_turns(models: dict[str, Model]) -> None:
    trials = try_models(cast(dict[str, Consumer], models), SETS, lambda _: None)
    ours, theirs = trials["candidate"].speed, trials["opponent"].speed
    assert (ours.sentences_per_second, ours.latency_p50_ms, ours.latency_p99_ms) == (100.0, 10.0, 10.0)
    assert (theirs.sentences_per_second, theirs.latency_p50_ms, theirs.latency_p99_ms) == (50.0, 20.0, 20.0)
    for model in models.values():
        assert [len(sentences) for sentences, params in model.asked if params] == [TURN, TURN, 3, 2]
        assert sum(len(sentences) == 1 and not params for sentences, params in model.asked) == SINGLES


def test_fewer_sentences_than_are_tried_singly_are_tried_once_each(models: dict[str, Model]) -> None:
    try_models({"only": cast(Consumer, models["candidate"])}, {"short": SETS["short"]}, lambda _: None)
    singles = [sentences[0] for sentences, params in models["candidate"].asked if len(sentences) == 1]
    assert singles == SETS["short"]
