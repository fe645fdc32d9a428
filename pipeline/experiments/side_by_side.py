"""Compare two evaluated experiments: settings, data, scores and speed. A is the old experiment, B is the new one.

A test set is compared if both experiments have one with the same sources and references, under any name. The paired
bootstrap (pipeline/reviews/bootstrap.py) decides whether the scores differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from ..data.languages import tokeniser_for
from ..reviews.bootstrap import Difference, difference, sentence_counts
from ..scoring.facts import EvaluationExecution
from ..training.facts import ModelExecution
from .evaluated import Evaluated

LEVEL = 0.975  # confidence of each limit: the true difference is between the two limits in 95 % of the cases
METRICS = {"bleu": "BLEU", "chrf": "chrF2"}
SHOWN = 8  # characters of a digest

Two = tuple[str, str]  # the values of A and of B


@dataclass(frozen=True)
class Score:
    """A metric of both experiments on one test set."""

    a: float
    a_interval: Sequence[float]  # 95 %
    b: float
    b_interval: Sequence[float]
    difference: float  # B minus A, in points
    interval: tuple[float, float] | None  # 95 %, by the paired bootstrap; None for fewer than 100 sentences
    judgement: str


@dataclass(frozen=True)
class SameTestSet:
    """A test set that both experiments were scored on."""

    name: str  # in A
    name_in_b: str
    sentences: int
    scores: Mapping[str, Score]  # bleu, chrf


@dataclass(frozen=True)
class SideBySide:
    """The differences between the experiments A and B."""

    a: str
    b: str
    settings: Mapping[str, Two]  # those that differ
    data: Mapping[str, Two]
    test_sets: Sequence[SameTestSet]
    not_compared: Mapping[str, Mapping[str, Mapping[str, float]]]  # a, b -> scores of test sets that only it has
    model: Mapping[str, Two]
    speed: Mapping[str, Two]

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as the content of a JSON object."""
        return asdict(self)


def compare_experiments(a: Evaluated, b: Evaluated) -> SideBySide:
    """Compare B with A."""
    same = _same_test_sets(a, b)
    return SideBySide(
        a.name,
        b.name,
        _differing(a.settings, b.settings),
        _both(_data(a), _data(b)),
        [_compare_test_set(a, b, *names) for names in same],
        {"a": _scores_of_others(a, {n for n, _ in same}), "b": _scores_of_others(b, {n for _, n in same})},
        _both(_model(a), _model(b)),
        _both(_speed(a), _speed(b)),
    )


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, Two]:
    return {key: values for key, values in _both(a, b).items() if values[0] != values[1]}


def _both(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, Two]:
    """Return the values of A and B for each name; `-` stands for a missing value."""
    return {key: (a.get(key, "-"), b.get(key, "-")) for key in dict.fromkeys([*a, *b])}


def _data(experiment: Evaluated) -> dict[str, str]:
    facts = experiment.corpus_facts
    return {
        "corpus": experiment.artifacts["corpus"].digest[:SHOWN],
        **{f"{split} pairs": f"{pairs:,}" for split, pairs in facts.splits.items()},
        "licences": ", ".join(sorted({source.licence for source in facts.sources})),
    }


def _model(experiment: Evaluated) -> dict[str, str]:
    facts = experiment.model_facts
    return {
        "parameters": f"{facts.parameters:,}",
        "epochs": f"{facts.epochs}, the best is {facts.best_epoch}",
        "commit": (experiment.commit or "-").partition("-")[0][:SHOWN] or "-",
    }


def _speed(experiment: Evaluated) -> dict[str, str]:
    model = experiment.artifacts["model"]
    training = ModelExecution.of(model)
    machine = model.manifest.made_with.get("machine", {})
    return {
        "training": f"{training.seconds / 60:,.1f} min",
        "training, target tokens/s": f"{training.tokens_per_second:,.0f}",
        **{
            f"beam search on {name}, sentences/s": f"{timing['beam'].sentences_per_second:,.1f}"
            for name, timing in EvaluationExecution.of(experiment.evaluation).timing.items()
        },
        "machine": ", ".join(str(machine.get(part, "?")) for part in ("processor", "device")),
        "processes": str(training.processes),
    }


def _same_test_sets(a: Evaluated, b: Evaluated) -> list[tuple[str, str]]:
    """Return the names, in A and in B, of each test set that has the same text in both."""
    texts = [{name: (e.lines(name, "source"), e.lines(name, "reference")) for name in e.test_sets} for e in (a, b)]
    found = []
    for name, text in texts[0].items():
        alike = [other for other, theirs in texts[1].items() if theirs == text]
        if alike:
            found.append((name, name if name in alike else alike[0]))
    return found


def _scores_of_others(experiment: Evaluated, compared: set[str]) -> dict[str, dict[str, float]]:
    """Return BLEU and chrF2 of each test set that the other experiment does not have."""
    scores = {name: experiment.test_sets[name].systems["beam"] for name in sorted(set(experiment.test_sets) - compared)}
    return {name: {"bleu": score.bleu, "chrf": score.chrf} for name, score in scores.items()}


def _compare_test_set(a: Evaluated, b: Evaluated, name: str, name_in_b: str) -> SameTestSet:
    references = [a.lines(name, "reference")]
    language = b.corpus_facts.target_language
    metrics: dict[str, Metric] = {
        "bleu": BLEU(tokenize=tokeniser_for(language), references=references),
        "chrf": CHRF(references=references),
    }
    scores = {}
    for key, metric in metrics.items():
        counts = [sentence_counts(metric, e.lines(n, "beam")) for e, n in ((a, name), (b, name_in_b))]
        before, after = (e.test_sets[n].systems["beam"].model_dump() for e, n in ((a, name), (b, name_in_b)))
        found = difference(metric, counts[1], counts[0], LEVEL)
        scores[key] = Score(
            a=before[key],
            a_interval=before[f"{key}_interval"],
            b=after[key],
            b_interval=after[f"{key}_interval"],
            difference=round(found.points, 2),
            interval=found.limits and (round(found.limits[0], 2), round(found.limits[1], 2)),
            judgement=_judgement(found, b.name),
        )
    return SameTestSet(name, name_in_b, len(references[0]), scores)


def _judgement(found: Difference, name: str) -> str:
    if found.limits is None:
        return "too few sentences to tell"
    if found.limits[0] > 0:
        return f"{name} is better"
    return f"{name} is worse" if found.limits[1] < 0 else "no significant difference"
