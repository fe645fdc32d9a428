"""Compare two systems on one test set: the candidate and its opponent, both given as texts.

Each sentence is counted once, by sacreBLEU. The scores of the test set, and those of each group of sentences with
similar length, come from sums of these counts. The limits of a difference come from `bootstrap`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from ..data.languages import count_words, tokeniser_for
from ..scoring.metrics import BUCKETS, Scorer
from .bootstrap import Counts, Difference, difference, score, sentence_counts
from .output_faults import Faults, find_faults

SHOWN = 20  # the number of sentences with the largest gain, and with the largest loss, that are shown
CANDIDATE, OPPONENT, REFERENCE = "candidate", "opponent", "reference"


@dataclass(frozen=True)
class Speed:
    """The speed of translation on the machine of the review."""

    sentences_per_second: float  # in batches
    latency_p50_ms: float  # of single sentences
    latency_p99_ms: float


@dataclass(frozen=True)
class System:
    """A model version, or a baseline. In a baseline, every field that only a version has is None."""

    name: str  # of the registered model or of the baseline
    version: str | None
    source_language: str
    target_language: str
    digests: Mapping[str, str]  # of corpus, model and package files: hex sha256
    commit: str | None
    parameters: int | None
    size_bytes: int | None  # of the package
    speed: Speed | None
    unknown_pieces: Mapping[str, float]  # test set -> share of the sources' pieces that the tokenizer does not know
    training_run: tuple[str, str] | None = None  # ids of the MLflow experiment and run; older reviews have none

    @property
    def is_baseline(self) -> bool:
        return self.version is None


@dataclass(frozen=True)
class Scores:
    """One system's scores on a whole test set, with 95 % intervals."""

    bleu: float
    bleu_interval: tuple[float, float]
    chrf: float
    chrf_interval: tuple[float, float]
    length_ratio: float  # of tokens, hypotheses to references


@dataclass(frozen=True)
class Bucket:
    """The sentences whose sources have a similar number of words."""

    words: str  # such as 5-9 or 30+
    sentences: int
    scores: Mapping[str, Mapping[str, float]]  # system -> bleu, chrf
    differences: Mapping[str, Difference]  # bleu, chrf


@dataclass(frozen=True)
class Change:
    """A sentence that one system translates better than the other."""

    line: int  # from 1
    source: str
    reference: str
    candidate: str
    opponent: str
    points: float  # chrF of the candidate's text minus that of the opponent's


@dataclass(frozen=True)
class Comparison:
    """The results of the candidate and the opponent on one test set."""

    test_set: str
    target_language: str
    sentences: int
    opponent: str  # its name
    scores: Mapping[str, Scores]  # candidate, opponent
    signatures: Mapping[str, str]  # bleu, chrf
    differences: Mapping[str, Difference]  # bleu, chrf
    by_length: Sequence[Bucket]
    better: int  # sentences with a higher chrF than the opponent's
    worse: int
    gains: Sequence[Change]  # the largest first
    losses: Sequence[Change]  # the largest first
    faults: Mapping[str, Faults]  # candidate, opponent, reference; the reference shows how common faults are


def compare(
    test_set: str,
    sources: Sequence[str],
    references: Sequence[str],
    candidate: Sequence[str],
    opponent_name: str,
    opponent: Sequence[str],
    target_language: str,
    levels: Mapping[str, float],
    lines: Sequence[int],
) -> Comparison:
    """Compare two systems' translations of `sources`. All texts are lines of one test set, at least one, in its order.

    `levels`: confidence levels for bleu and chrf. `lines`: the numbers of these lines in the test set; some lines may
    be missing.
    """
    if not len(sources) == len(references) == len(candidate) == len(opponent) > 0:
        lengths = [len(texts) for texts in (sources, references, candidate, opponent)]
        raise ValueError(f"{test_set}: got {lengths} sources, references and texts, expected equal numbers, not 0")
    systems = {CANDIDATE: candidate, OPPONENT: opponent}
    scorer = Scorer(sources, references, target_language)
    metrics: dict[str, Metric] = {
        "bleu": BLEU(tokenize=tokeniser_for(target_language), references=[references]),
        "chrf": CHRF(references=[references]),
    }
    counts = {
        name: {system: sentence_counts(metric, texts) for system, texts in systems.items()}
        for name, metric in metrics.items()
    }
    points = _sentence_points(metrics["chrf"], counts["chrf"])
    changes = list(map(Change, lines, sources, references, candidate, opponent, points))
    return Comparison(
        test_set,
        target_language,
        len(sources),
        opponent_name,
        {system: _scores(scorer, texts) for system, texts in systems.items()},
        scorer.signatures,
        _differences(metrics, counts, range(len(sources)), levels),
        _by_length(metrics, counts, sources, levels),
        sum(point > 0 for point in points),
        sum(point < 0 for point in points),
        sorted((c for c in changes if c.points > 0), key=lambda c: (-c.points, c.line))[:SHOWN],
        sorted((c for c in changes if c.points < 0), key=lambda c: (c.points, c.line))[:SHOWN],
        {
            name: find_faults(sources, references, texts, target_language)
            for name, texts in (systems | {REFERENCE: references}).items()
        },
    )


def _scores(scorer: Scorer, texts: Sequence[str]) -> Scores:
    scores = scorer.score(texts)
    return Scores(scores.bleu, scores.bleu_interval, scores.chrf, scores.chrf_interval, scores.length_ratio)


def _sentence_points(chrf: Metric, counts: Mapping[str, Counts]) -> list[float]:
    """Return, for each sentence, the candidate's chrF minus the opponent's."""
    rows = zip(counts[CANDIDATE], counts[OPPONENT], strict=True)
    return [score(chrf, candidate) - score(chrf, opponent) for candidate, opponent in rows]


def _differences(
    metrics: Mapping[str, Metric],
    counts: Mapping[str, Mapping[str, Counts]],
    chosen: Sequence[int],
    levels: Mapping[str, float],
) -> dict[str, Difference]:
    rows = np.array(chosen)
    return {
        name: difference(metric, counts[name][CANDIDATE][rows], counts[name][OPPONENT][rows], levels[name])
        for name, metric in metrics.items()
    }


def _by_length(
    metrics: Mapping[str, Metric],
    counts: Mapping[str, Mapping[str, Counts]],
    sources: Sequence[str],
    levels: Mapping[str, float],
) -> list[Bucket]:
    """Compare the systems for each bucket of source lengths. Buckets without a sentence are left out."""
    lengths = [count_words(source) for source in sources]
    buckets = []
    for first, last in BUCKETS:
        chosen = [i for i, n in enumerate(lengths) if first <= n and (last is None or n <= last)]
        if not chosen:
            continue
        scores = {
            system: {name: score(metric, counts[name][system][chosen].sum(0)) for name, metric in metrics.items()}
            for system in (CANDIDATE, OPPONENT)
        }
        tests = _differences(metrics, counts, chosen, levels)
        buckets.append(Bucket(f"{first}-{last}" if last else f"{first}+", len(chosen), scores, tests))
    return buckets
