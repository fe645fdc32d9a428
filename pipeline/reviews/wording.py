"""Put a review into words and figures, the same on its page and in its description.

Names of models and test sets are foreign text: whoever writes a sentence here says how such a name is quoted.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from ..registry.limits import TOO_LONG
from .bootstrap import Difference
from .comparison import CANDIDATE, OPPONENT, Comparison, System
from .gates import LOSSES, Gate
from .non_inferiority import POWER
from .review import Review

Quote = Callable[[str], str]

METRICS = {"bleu": "BLEU", "chrf": "chrF2"}
# Gate -> its name in a sentence, and what is measured.
GATES = {
    "bleu_drop": ("loss of BLEU", "upper confidence limit of the loss of BLEU"),
    "chrf_drop": ("loss of chrF2", "upper confidence limit of the loss of chrF2"),
    "latency_ratio": ("latency", "median time of a single sentence, over the champion's"),
    "size_ratio": ("size", "bytes of the package, over the champion's"),
    "empty_outputs": ("empty outputs", "empty outputs"),
    "copied_outputs": ("copied outputs", "copies of the source where the reference is none"),
    "looping_outputs": ("looping outputs", "outputs that say the same four times in a row"),
    "unknown_pieces": ("unknown pieces", "pieces of the sources that the tokenizer does not know"),
    "leak": ("leaked test sentences", "test sentences that the candidate was trained on"),
}
NBSP = "\N{NO-BREAK SPACE}"  # between a number and its unit
NAMED = 3  # test sets in the sentence of the verdict


def system_name(system: System, quote: Quote) -> str:
    """`translator-en-de version 3`, `the baseline translation memory`."""
    name = quote(system.name)
    return f"the baseline {name}" if system.is_baseline else f"{name} version {system.version}"


def verdict(review: Review, quote: Quote) -> str:
    """The verdict and its reason in one sentence."""
    opponent = system_name(review.opponent, quote)
    if review.failure:
        return f"It fails without a comparison: in a fresh process {review.failure.reason}."
    if blocking := [gate for gate in review.gates if gate.blocks]:
        told = "; ".join(reasons(blocking, quote))
        if review.verdict == "inconclusive":
            return f"These test sets cannot tell whether it keeps up with {opponent}: {told}."
        return f"It fails against {opponent}: {told}."
    told = ", ".join([_told(comparison, quote) for comparison in review.comparisons[:NAMED]])
    if (others := len(review.comparisons) - NAMED) > 0:
        told += f", {others} more test sets"
    figures = f" (BLEU {told})" if told else ""
    return f"{_standing(review)} {opponent}{figures}; all required gates hold."


def reasons(gates: Sequence[Gate], quote: Quote) -> list[str]:
    """Why these gates do not hold."""
    told = [_beyond(gate) for gate in gates if gate.verdict == "fail"]
    told += [f"{_beyond(gate)}: {_too_small(gate, quote)}" for gate in gates if gate.verdict == "inconclusive"]
    missing = [GATES[gate.name][0] for gate in gates if gate.verdict == "missing"]
    return told + ([f"not measured: {', '.join(missing)}"] if missing else [])


def warnings(review: Review, quote: Quote) -> list[str]:
    """Why gates that are not required do not hold, and what could not be looked at."""
    told = reasons([gate for gate in review.gates if not gate.holds and not gate.required], quote)
    if OPPONENT in review.leaks.unchecked:
        told.append(
            "whether the champion was trained on test sentences cannot be checked, since it was registered before that "
            "was recorded: where it was, its scores here are too high"
        )
    return told + _too_long(review, quote) + _origins(review, quote)


def leaks(review: Review, test_set: str) -> str:
    """`3 of 1,000 sentences left out: the candidate was trained on 0 of them, the champion on 3`."""
    systems = {CANDIDATE: "the candidate"} | ({} if review.opponent.is_baseline else {OPPONENT: "the champion"})
    told = []
    for system, name in systems.items():
        counts = review.leaks.counts.get(system)
        told.append(f"{name} was trained on {counts[test_set]:,}" if counts else f"{name} cannot be checked")
    left_out, sentences = review.leaks.left_out[test_set], review.leaks.test_sets[test_set]
    return f"{left_out:,} of {sentences:,} sentences left out; {', '.join(told)}"


def gate_value(gate: Gate) -> str:
    return "–" if gate.value is None else _with_unit(gate.name, gate.value)


def gate_limit(gate: Gate) -> str:
    """`at most 0.50 points`."""
    return f"at most {_with_unit(gate.name, gate.threshold)}"


def judgement(difference: Difference) -> Literal["better", "worse", "no clear difference"]:
    """Better or worse where both confidence limits are on one side of 0."""
    if difference.limits is None or difference.limits[0] <= 0 <= difference.limits[1]:
        return "no clear difference"
    return "better" if difference.limits[0] > 0 else "worse"


def signed(points: float, digits: int = 2) -> str:
    """`+1.20` or `−1.20`, with a minus sign as wide as the plus."""
    text = f"{points:+.{digits}f}"
    return (text.replace("-", "−") if float(text) else text[1:]).strip()


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    return "" if ends is None else f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]".replace("-", "−")


def share(value: float) -> str:
    """A share in per cent; what is not 0 never reads 0."""
    number = "0" if value == 0 else f"<{NBSP}0.01" if value < 1e-4 else f"{100 * value:.4g}"
    return f"{number}{NBSP}%"


def megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.1f}{NBSP}MB"


def percent(part: float) -> str:
    return f"{100 * part:.4g}{NBSP}%"


def _too_long(review: Review, quote: Quote) -> list[str]:
    """Say how many test sentences were too long for a model, and where the first is."""
    told = [
        f"{quote(name)}: {_sentences(len(lines))} left out for both, the first on line {lines[0]}: {TOO_LONG}; "
        "cut such lines into sentences, on both sides"
        for name, lines in review.too_long.left_out.items()
    ]
    return told + [
        f"{quote(name)}: {_sentences(len(lines))} too long for the candidate but not for the champion, the first on "
        f"line {lines[0]}: there the candidate's translation counts as empty"
        for name, lines in review.too_long.empty.items()
    ]


def _sentences(count: int) -> str:
    return f"{count:,} sentence{'' if count == 1 else 's'}"


def _origins(review: Review, quote: Quote) -> list[str]:
    """Say whose the test sets are where the candidate's author chose them."""
    origins = review.provenance.origins
    if origins and set(origins.values()) == {"candidate"}:
        return [
            "all test sets are the candidate's own: whoever made it chose the sources, the references and the "
            "baseline's translations; add test sets of yours (review.test_sets)"
        ]
    ours, theirs = (
        ", ".join(quote(name) for name, origin in origins.items() if origin == side)
        for side in ("candidate", "champion")
    )
    if not theirs:
        return []
    told = f"the candidate was not evaluated on test sets of the champion ({theirs}), on which it is reviewed too"
    return [f"{told}; its own ({ours}) are not the champion's" if ours else told]


def _beyond(gate: Gate) -> str:
    limit = "up to " if gate.name in LOSSES else ""
    return f"{GATES[gate.name][0]} {limit}{gate_value(gate)} ({gate_limit(gate)})"


def _too_small(gate: Gate, quote: Quote) -> str:
    """`test should have 2,300 sentences, so that an equal candidate passes in 80 % of the reviews`."""
    names = [f"{quote(name)} should have {number:,} sentences" for name, number in list(gate.needed.items())[:NAMED]]
    more = ["others more too"] if len(gate.needed) > NAMED else []
    return f"{', '.join(names + more)}, for an equal candidate to pass in {percent(POWER)} of the reviews"


def _standing(review: Review) -> str:
    """The outcome over all test sets, up to the opponent's name: `Better than`."""
    outcomes = [judgement(comparison.differences["bleu"]) for comparison in review.comparisons]
    better, worse = outcomes.count("better"), outcomes.count("worse")
    if worse:
        within = any(gate.name == "bleu_drop" and gate.holds for gate in review.gates)  # it may not be required
        told = f"n {worse} of {len(outcomes)} test sets worse than"
        return f"By less than the margin, o{told}" if within else f"O{told}"
    if better == len(outcomes) > 0:
        return "Better than"
    return f"On {better} of {len(outcomes)} test sets better than" if better else "No clear difference to"


def _told(comparison: Comparison, quote: Quote) -> str:
    difference = comparison.differences["bleu"]
    return f"{signed(difference.points)} {interval(difference.limits)} on {quote(comparison.test_set)}"


def _with_unit(name: str, value: float) -> str:
    match name:
        case "bleu_drop" | "chrf_drop":
            return f"{value:.2f}{NBSP}points".replace("-", "−")
        case "latency_ratio" | "size_ratio":
            return f"{value:.2f}{NBSP}×"
        case "leak":
            return f"{value:,.0f}"
        case _:
            return share(value)
