"""Reviews of a few sentences, made in well under a second by the parts that make real ones."""

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.plumbing.params import ReviewSettings
from pipeline.reviews.comparison import Comparison, compare
from pipeline.reviews.gates import judge
from pipeline.reviews.review import Leak, Leaks, Provenance, Review
from pipeline.reviews.subjects import Speed, Subject

WORDS = ("ein", "der", "Mann", "Frau", "Hund", "Straße", "läuft", "sieht", "über", "rot", "groß", "am", "Haus", "mit")


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) + "." for _ in range(count)]


def worsen(lines: Sequence[str], share: float, seed: int) -> list[str]:
    """The lines with `share` of their words replaced."""
    draw = random.Random(seed)
    return [" ".join("falsch" if draw.random() < share else word for word in line.split()) for line in lines]


def compare_lines(
    candidate: Sequence[str], opponent: Sequence[str], references: Sequence[str], name: str = "test"
) -> Comparison:
    return compare(name, [f"source {line}" for line in references], references, candidate, "champion", opponent, "de")


@functools.cache
def better(count: int = 30, name: str = "test") -> Comparison:
    """A candidate that is clearly better than its opponent, though not in every sentence."""
    references = sentences(count, 1)
    return compare_lines(worsen(references, 0.15, 2), worsen(references, 0.5, 3), references, name)


CHAMPION = Subject(
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
)
CANDIDATE = replace(CHAMPION, version="3", digests={"corpus": "a" * 64, "model": "b" * 64})
BASELINE = Subject("translation memory", None, "en", "de", {}, None, None, None, None, {})


def make_review(
    comparisons: Sequence[Comparison],
    candidate: Subject = CANDIDATE,
    opponent: Subject = CHAMPION,
    leaked: Mapping[str, int] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Review:
    """Without `leaked`, no test set has leaked."""
    review = ReviewSettings.model_validate(settings or {})
    counts = {comparison.test_set: 0 for comparison in comparisons} if leaked is None else leaked
    gates = judge(review.gates, comparisons, candidate, opponent, counts)
    leaks = Leaks(counts, [Leak(name, 7, "source <b>") for name, count in counts.items() if count])
    read = {comparison.test_set: "9" * 64 for comparison in comparisons}
    made = Provenance("2026-01-02T03:04:05+00:00", "jane", review.model_dump(), read, "f" * 40, "2 cores", "isolated")
    return Review(candidate, opponent, comparisons, gates, leaks, made)
