"""Measure how often a review passes a candidate that is equal or worse by 0.5, 1 or 2 BLEU, for sizes of test sets.

python -m benchmarks.review_power REFERENCES CHAMPION CANDIDATE WORSE

The arguments are four files of aligned lines: the references of a large test set, and the outputs of three models.
CHAMPION and CANDIDATE come from models that differ only in the seed, WORSE from a worse model. The benchmark makes
candidates with a known difference from them. It replaces a share of CANDIDATE's outputs by those of WORSE, until BLEU
over the whole file is lower than CHAMPION's by the wanted difference. For chrF it replaces a part of that share. Each
simulated review draws its sentences from the file with replacement.

The old rule allows a loss of 0.5 points of BLEU and of chrF, and no loss of BLEU with p < 0.05. The new rule consists
of the gates of the review, at several margins and levels. There are REVIEWS reviews of each kind, with seed 1.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from pipeline.reviews.bootstrap import Counts, Difference, difference, score, sentence_counts
from pipeline.reviews.non_inferiority import judge_loss, sentences_needed

REVIEWS = 500
SIZES = (20, 50, 100, 200, 500, 1000, 2000)
TRUE_LOSSES = (0.0, 0.5, 1.0, 2.0)
MARGINS = (0.5, 1.0, 1.5, 2.0)
LEVEL_95, LEVEL_90 = 0.95, 0.9
OLD_LOSS = 0.5
SimulatedReview = Mapping[str, Difference]  # metric -> the difference that the review finds


def main() -> None:
    references, champion, candidate, worse = (Path(name).read_text("utf-8").splitlines() for name in sys.argv[1:])
    metrics: dict[str, Metric] = {"bleu": BLEU(references=[references]), "chrf": CHRF(references=[references])}
    texts = {"champion": champion, "candidate": candidate, "worse": worse}
    systems = {name: {s: sentence_counts(m, lines) for s, lines in texts.items()} for name, m in metrics.items()}
    for system in texts:
        told = ", ".join(
            f"{name} {score(metric, systems[name][system].sum(0)):.2f}" for name, metric in metrics.items()
        )
        print(f"{system}: {told}, {len(references):,} sentences")
    for name, metric in metrics.items():
        found = difference(metric, systems[name]["candidate"], systems[name]["champion"], LEVEL_95)
        print(f"candidate - champion: {name} {found}")
    for loss in TRUE_LOSSES:
        simulate(metrics, systems, loss)


def simulate(metrics: Mapping[str, Metric], systems: Mapping[str, Mapping[str, Counts]], loss: float) -> None:
    """Review a candidate that is worse by `loss` BLEU, on test sets of each size."""
    pairs: dict[str, tuple[Counts, Counts]] = {}
    print(f"\ncandidates that are truly worse by {loss}:")
    for name, metric in metrics.items():
        found = systems[name]
        replaced = choose_replaced(metric, found, loss)
        pairs[name] = (np.where(replaced[:, None], found["worse"], found["candidate"]), found["champion"])
        points = score(metric, pairs[name][0].sum(0)) - score(metric, pairs[name][1].sum(0))
        print(f"  {name} {points:+.2f}, {replaced.mean():.1%} of the outputs replaced")
    draw = np.random.default_rng(1)
    for size in SIZES:
        reviews = []
        for _ in range(REVIEWS):
            rows = draw.integers(len(pairs["bleu"][0]), size=size)
            reviews.append(
                {n: difference(m, pairs[n][0][rows], pairs[n][1][rows], LEVEL_95) for n, m in metrics.items()}
            )
        report(size, reviews)


def choose_replaced(metric: Metric, counts: Mapping[str, Counts], loss: float) -> NDArray[np.bool_]:
    """Choose the outputs to replace by those of the worse system, so that the candidate loses about `loss` points."""
    order = np.random.default_rng(1).permutation(len(counts["champion"]))
    sums = counts["candidate"].sum(0) + np.cumsum((counts["worse"] - counts["candidate"])[order], axis=0)
    target = score(metric, counts["champion"].sum(0)) - loss
    nearest = int(np.argmin([abs(score(metric, row) - target) for row in sums]))
    replaced = np.zeros(len(order), dtype=bool)
    replaced[order[: nearest + 1]] = True
    return replaced


def report(size: int, reviews: Sequence[SimulatedReview]) -> None:
    for name in ("bleu", "chrf"):
        errors = [review[name].standard_error or 0.0 for review in reviews]
        spread = np.std([review[name].points for review in reviews])
        print(f"{size:>5} {name}: standard error {np.mean(errors):.2f}, of the estimates {spread:.2f}")
    print(f"{size:>5} old rule: passes {np.mean([passes_old_rule(review) for review in reviews]):.1%}")
    for margin in MARGINS:
        for level in (LEVEL_95, LEVEL_90):
            found = [{name: at(level, d) for name, d in review.items()} for review in reviews]
            verdicts = [{n: judge_loss([("", size, d)], margin).verdict for n, d in review.items()} for review in found]
            bleu = Counter(verdict["bleu"] for verdict in verdicts)
            both = sum(set(verdict.values()) == {"pass"} for verdict in verdicts)
            needed = np.median([sentences_needed(size, review["bleu"], margin) for review in found])
            print(
                f"{size:>5} margin {margin}, level {level}: BLEU passes {bleu['pass'] / REVIEWS:.1%}, inconclusive "
                f"{bleu['inconclusive'] / REVIEWS:.1%}; BLEU and chrF pass {both / REVIEWS:.1%}; needs {needed:,.0f}",
                flush=True,
            )


def at(level: float, found: Difference) -> Difference:
    """Return the difference with limits at another level, computed from its standard error."""
    if level == found.level or found.standard_error is None:
        return found
    reach = NormalDist().inv_cdf(level) * found.standard_error
    return replace(found, level=level, limits=(found.points - reach, found.points + reach))


def passes_old_rule(review: SimulatedReview) -> bool:
    """Return whether the old rule passes.

    Its p came from a randomisation test. Here, p < 0.05 stands for a difference beyond 1.96 standard errors.
    """
    bleu, chrf = review["bleu"], review["chrf"]
    is_sure = bleu.points < -1.96 * (bleu.standard_error or 0.0)
    return bleu.points >= -OLD_LOSS and chrf.points >= -OLD_LOSS and not is_sure


if __name__ == "__main__":
    main()
