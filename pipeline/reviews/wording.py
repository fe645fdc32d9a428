"""Owns the words and figures that a review is told in, the same on its page and in its description.

Names of models and test sets are foreign text: whoever writes a sentence here says how such a name is quoted.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from .comparison import Comparison
from .gates import AT_LEAST, Gate
from .review import Review
from .significance import Difference
from .subjects import Subject

Quote = Callable[[str], str]

METRICS = {"bleu": "BLEU", "chrf": "chrF2"}
# Gate -> its name in a sentence, and what is measured.
GATES = {
    "bleu_drop": ("loss of BLEU", "the opponent's BLEU minus the candidate's"),
    "chrf_drop": ("loss of chrF2", "the opponent's chrF2 minus the candidate's"),
    "significance": ("p of a loss of BLEU", "the smallest p of a loss of BLEU; 1 where there is no loss"),
    "latency_ratio": ("latency", "median time of a single sentence, over the champion's"),
    "size_ratio": ("size", "bytes of the package, over the champion's"),
    "empty_outputs": ("empty outputs", "empty outputs"),
    "copied_outputs": ("copied outputs", "copies of the source where the reference is none"),
    "looping_outputs": ("looping outputs", "outputs that say the same four times in a row"),
    "unknown_pieces": ("unknown pieces", "pieces of the sources that the tokenizer does not know"),
    "leak": ("leaked test sentences", "test sentences whose source is in the training corpus"),
}
NBSP = "\N{NO-BREAK SPACE}"  # between a number and its unit
NAMED = 3  # test sets in the sentence of the verdict


def subject(subject: Subject, quote: Quote) -> str:
    """`translator-en-de version 3`, `the baseline translation memory`."""
    name = quote(subject.name)
    return f"the baseline {name}" if subject.is_baseline else f"{name} version {subject.version}"


def verdict(review: Review, quote: Quote) -> str:
    """The verdict and its reason in one sentence."""
    opponent = subject(review.opponent, quote)
    if review.failure:
        return f"It fails without a comparison: in a fresh process {review.failure.reason}."
    if blocking := [gate for gate in review.gates if gate.blocks]:
        return f"It fails against {opponent}: {'; '.join(reasons(blocking))}."
    alpha = significance_level(review.gates)
    told = [_told(comparison, quote) for comparison in review.comparisons[:NAMED]]
    if (others := len(review.comparisons) - NAMED) > 0:
        told.append(f"{others} more test sets")
    figures = f" (BLEU {', '.join(told)})" if told else ""
    return f"{_standing(review.comparisons, alpha)} {opponent}{figures}; all required gates hold."


def reasons(gates: Sequence[Gate]) -> list[str]:
    """Why these gates do not hold."""
    beyond = [gate for gate in gates if gate.verdict == "fail"]
    missing = [GATES[gate.name][0] for gate in gates if gate.verdict == "missing"]
    told = [f"{GATES[gate.name][0]} {gate_value(gate)} ({gate_limit(gate)})" for gate in beyond]
    return told + ([f"not measured: {', '.join(missing)}"] if missing else [])


def warnings(review: Review) -> list[str]:
    """Why gates that are not required do not hold."""
    return reasons([gate for gate in review.gates if not gate.holds and not gate.required])


def gate_value(gate: Gate) -> str:
    return "–" if gate.value is None else _with_unit(gate.name, gate.value)


def gate_limit(gate: Gate) -> str:
    """`at most 0.50 points`."""
    return f"at {'least' if gate.name in AT_LEAST else 'most'} {_with_unit(gate.name, gate.threshold)}"


def significance_level(gates: Sequence[Gate]) -> float:
    """The p below which a difference is told as more than chance: the threshold of that gate."""
    return next(gate.threshold for gate in gates if gate.name == "significance")


def judgement(difference: Difference, alpha: float) -> Literal["better", "worse", "no clear difference"]:
    if difference.randomisation_p is None or difference.randomisation_p >= alpha:
        return "no clear difference"
    return "better" if difference.points > 0 else "worse"


def signed(points: float, digits: int = 2) -> str:
    """`+1.20` or `−1.20`, with a minus sign as wide as the plus."""
    text = f"{points:+.{digits}f}"
    return (text.replace("-", "−") if float(text) else text[1:]).strip()


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    return "" if ends is None else f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]".replace("-", "−")


def p_value(p: float | None) -> str:
    """Three digits; `–` where there was no test."""
    return "–" if p is None else f"<{NBSP}0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """A share in per cent; what is not 0 never reads 0."""
    number = "0" if value == 0 else f"<{NBSP}0.01" if value < 1e-4 else f"{100 * value:.4g}"
    return f"{number}{NBSP}%"


def megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.1f}{NBSP}MB"


def _standing(comparisons: Sequence[Comparison], alpha: float) -> str:
    """The outcome over all test sets, up to the opponent's name: `Better than`."""
    outcomes = [judgement(comparison.differences["bleu"], alpha) for comparison in comparisons]
    better, worse = outcomes.count("better"), outcomes.count("worse")
    if worse:
        return f"On {worse} of {len(outcomes)} test sets worse than"
    if better == len(outcomes) > 0:
        return "Better than"
    return f"On {better} of {len(outcomes)} test sets better than" if better else "No clear difference to"


def _told(comparison: Comparison, quote: Quote) -> str:
    difference = comparison.differences["bleu"]
    p = p_value(difference.randomisation_p)
    chance = f"p{NBSP}{'' if p.startswith('<') else f'={NBSP}'}{p}"
    return f"{signed(difference.points)} on {quote(comparison.test_set)}, {chance}"


def _with_unit(name: str, value: float) -> str:
    match name:
        case "bleu_drop" | "chrf_drop":
            return f"{value:.2f}{NBSP}points".replace("-", "−")
        case "significance":
            return f"{value:.4f}"
        case "latency_ratio" | "size_ratio":
            return f"{value:.2f}{NBSP}×"
        case "leak":
            return f"{value:,.0f}"
        case _:
            return share(value)
