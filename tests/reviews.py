"""Make reviews of a few sentences with the code that makes real ones, in less than a second."""

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.plumbing.params import ReviewSettings
from pipeline.reviews.comparison import Comparison, Speed, System, compare
from pipeline.reviews.description import write_description
from pipeline.reviews.gates import judge
from pipeline.reviews.leaks import Leak, Leaks
from pipeline.reviews.pages import Pages
from pipeline.reviews.report import write_report
from pipeline.reviews.review import AttentionMap, Provenance, Review
from pipeline.reviews.version_changes import VersionChange

WORDS = ("ein", "der", "Mann", "Frau", "Hund", "Straße", "läuft", "sieht", "über", "rot", "groß", "am", "Haus", "mit")
SYSTEMS = ("candidate", "opponent")
LEVELS = {"bleu": 0.95, "chrf": 0.95}


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) + "." for _ in range(count)]


def worsen(lines: Sequence[str], share: float, seed: int) -> list[str]:
    """Return the lines with `share` of their words replaced."""
    draw = random.Random(seed)
    return [" ".join("falsch" if draw.random() < share else word for word in line.split()) for line in lines]


def compare_lines(
    candidate: Sequence[str], opponent: Sequence[str], references: Sequence[str], name: str = "test"
) -> Comparison:
    sources, lines = [f"source {line}" for line in references], range(1, len(references) + 1)
    return compare(name, sources, references, candidate, "champion", opponent, "de", LEVELS, lines)


@functools.cache
def better(count: int = 100, name: str = "test") -> Comparison:
    """Return a comparison in which the candidate is better, though not in every sentence."""
    references = sentences(count, 1)
    return compare_lines(worsen(references, 0.15, 2), worsen(references, 0.5, 3), references, name)


CHAMPION = System(
    name="translator-en-de",
    version="2",
    source_language="en",
    target_language="de",
    digests={"corpus": "c" * 64, "model": "d" * 64},
    commit="e" * 40,
    parameters=1000,
    size_bytes=5_000_000,
    speed=Speed(400.0, 10.0, 30.0),
    unknown_pieces={"test": 0.0},
    training_run=("5", "6" * 32),
)
CANDIDATE = replace(CHAMPION, version="3", digests={"corpus": "a" * 64, "model": "b" * 64})
CARD = "Translates en to de.\n\n### Scores on held-out text\n\nBLEU 12.3\n\n### Training\n\n3 epochs\n"
BASELINE = System("translation memory", None, "en", "de", {}, None, None, None, None, {})


def make_leaks(
    comparisons: Sequence[Comparison], leaked: Mapping[str, int] | None = None, checked: Sequence[str] = SYSTEMS
) -> Leaks:
    """Return leaks. `leaked`: test set -> sentences that the candidate was trained on."""
    sizes = {comparison.test_set: comparison.sentences for comparison in comparisons}
    found = dict.fromkeys(sizes, 0) | dict(leaked or {})
    counts = {system: found if system == "candidate" else dict.fromkeys(sizes, 0) for system in checked}
    examples = [Leak("candidate", name, 7, "source", "source <b>") for name, count in found.items() if count]
    return Leaks(sizes, counts, found, [system for system in SYSTEMS if system not in checked], examples)


def make_review(
    comparisons: Sequence[Comparison],
    candidate: System = CANDIDATE,
    opponent: System = CHAMPION,
    leaked: Mapping[str, int] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Review:
    """Return a review in which no test set leaked, unless `leaked` says so."""
    review = ReviewSettings.model_validate(settings or {})
    leaks = make_leaks(comparisons, leaked)
    if opponent.is_baseline:
        leaks = replace(leaks, counts={"candidate": leaks.counts["candidate"]})
    gates = judge(review.gates, comparisons, candidate, opponent, leaks)
    read = {comparison.test_set: "9" * 64 for comparison in comparisons}
    changes = [] if opponent.is_baseline else [VersionChange("train.epochs", "8", "16")]
    made = Provenance("2026-01-02T03:04:05+00:00", "jane", review.model_dump(), read, "f" * 40, "2 cores", "isolated")
    return Review(candidate, opponent, comparisons, gates, leaks, made, changes=changes, card=CARD)


def report(review: Review, maps: Sequence[AttentionMap] = (), tracking_uri: str = "sqlite:///mlflow.db") -> str:
    """The report of a review, whose pages are in a local store."""
    return write_report(review, maps, Pages(tracking_uri))


def description(review: Review) -> str:
    """The description of a reviewed version, with the link of some report."""
    return write_description(review, "#/experiments/1/runs/2/artifacts/report.html")
