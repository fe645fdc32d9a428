"""Models take turns; each has its texts in order, its unknown pieces, its speed and its lines that are too long."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.registry.sandbox.sandboxed_model import SandboxedModel, SandboxedTranslation
from pipeline.reviews.comparison import Speed
from pipeline.reviews.measurement import SINGLES, TURN, Measurement, TooLong, find_too_long, measure_models


@dataclass
class Model:
    """Stands in for a model. It translates at once, and reports given times."""

    name: str
    pace: float  # seconds a sentence
    most: int = 100  # letters of a sentence that it takes
    asked: list[tuple[Sequence[str], bool]] = field(default_factory=list)

    def translate(self, sentences: Sequence[str]) -> tuple[list[str], float]:
        self.asked.append((sentences, False))
        return [f"{self.name}: {sentence}\u2028\n of two lines" for sentence in sentences], self.pace * len(sentences)

    def explain(self, sentences: Sequence[str]) -> tuple[list[SandboxedTranslation | None], float]:
        texts, seconds = self.translate(sentences)
        self.asked[-1] = (sentences, True)
        found = zip(texts, sentences, strict=True)
        return [
            SandboxedTranslation(text=text, tokens=[], source_tokens=s.split()) if len(s) <= self.most else None
            for text, s in found
        ], seconds


@pytest.fixture
def models() -> dict[str, Model]:
    return {"candidate": Model("ours", 0.01), "opponent": Model("theirs", 0.02)}


SETS = {"long": [f"sentence {n}" for n in range(2 * TURN + 3)], "short": ["a <unk> <0xE2> b", "<0xE2>b <0xZZ> c d"]}


def test_texts_keep_their_order_and_are_one_line_each(models: dict[str, Model]) -> None:
    advanced: list[int] = []
    measurements = measure_models(cast(dict[str, SandboxedModel], models), SETS, advanced.append)
    for name, said in (("candidate", "ours"), ("opponent", "theirs")):
        assert measurements[name].texts == {
            test_set: [f"{said}: {source} of two lines" for source in sources] for test_set, sources in SETS.items()
        }
    assert sum(advanced) == 2 * sum(map(len, SETS.values()))


def test_unknown_pieces_and_bytes_of_the_sources_are_counted(models: dict[str, Model]) -> None:
    measurements = measure_models(cast(dict[str, SandboxedModel], models), SETS, lambda _: None)
    assert measurements["candidate"].unknown_pieces == {"long": 0.0, "short": 0.25}


def test_models_take_turns_and_each_has_its_own_speed(models: dict[str, Model]) -> None:
    measurements = measure_models(cast(dict[str, SandboxedModel], models), SETS, lambda _: None)
    ours, theirs = measurements["candidate"].speed, measurements["opponent"].speed
    assert (ours.sentences_per_second, ours.latency_p50_ms, ours.latency_p99_ms) == (100.0, 10.0, 10.0)
    assert (theirs.sentences_per_second, theirs.latency_p50_ms, theirs.latency_p99_ms) == (50.0, 20.0, 20.0)
    for model in models.values():
        assert [len(sentences) for sentences, explained in model.asked if explained] == [
            2,
            TURN,
            TURN,
            3,
            2,
        ]
        assert sum(len(sentences) == 1 and not explained for sentences, explained in model.asked) == SINGLES


def test_few_sentences_are_each_translated_singly_once(models: dict[str, Model]) -> None:
    measure_models({"only": cast(SandboxedModel, models["candidate"])}, {"short": SETS["short"]}, lambda _: None)
    singles = [sentences[0] for sentences, explained in models["candidate"].asked if len(sentences) == 1]
    assert singles == SETS["short"]


def test_a_sentence_that_is_too_long_for_one_model_is_not_translated_singly(models: dict[str, Model]) -> None:
    models["candidate"].most = 5
    measurements = measure_models(
        cast(dict[str, SandboxedModel], models), {"test": ["short", "longer", "brief"]}, lambda _: None
    )
    assert {name: measurement.too_long for name, measurement in measurements.items()} == {
        "candidate": {"test": [1]},
        "opponent": {"test": []},
    }
    assert measurements["candidate"].texts["test"][1] == ""
    for model in models.values():
        assert [sentences for sentences, explained in model.asked if not explained] == [["short"], ["brief"]]


def test_a_test_set_with_only_long_lines_is_refused(models: dict[str, Model]) -> None:
    models["opponent"].most = 5
    told = "^test set more: each of its 2 lines is longer than a registered model accepts, .*; cut the lines"
    with pytest.raises(UserError, match=told):
        measure_models(
            cast(dict[str, SandboxedModel], models), {"test": ["short"], "more": ["longer"] * 2}, lambda _: None
        )


def measurement(*indices: int) -> Measurement:
    return Measurement({}, {}, Speed(1.0, 1.0, 1.0), {"test": list(indices), "short": []})


def test_the_champion_decides_which_lines_are_left_out_and_without_one_the_candidate_does() -> None:
    assert find_too_long({"candidate": measurement(0, 9)}) == TooLong({"test": [1, 10]}, {})
    both = {"candidate": measurement(0, 9), "opponent": measurement(4, 9)}
    assert find_too_long(both) == TooLong({"test": [5, 10]}, {"test": [1]})
    assert find_too_long({}) == TooLong()
