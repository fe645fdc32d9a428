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
# Gate -> what its value is.
GATES = {
    "bleu_drop": "loss of BLEU",
    "chrf_drop": "loss of chrF2",
    "significance": "p of the surest loss of BLEU",
    "latency_ratio": "latency of a single sentence, median",
    "size_ratio": "size of the package",
    "empty_outputs": "empty outputs",
    "copied_outputs": "copies of the source",
    "looping_outputs": "outputs that repeat themselves",
    "unknown_pieces": "unknown pieces in the sources",
    "leak": "test sentences known from training",
}
NAMED = 3  # test sets in the sentence of the verdict


def subject(subject: Subject, quote: Quote) -> str:
    """`translator-en-de version 3`; a baseline is called one."""
    name = quote(subject.name)
    return f"{name} (baseline)" if subject.is_baseline else f"{name} version {subject.version}"


def verdict(review: Review, quote: Quote) -> str:
    """The verdict and its reason in one sentence."""
    blocking = [gate for gate in review.gates if gate.blocks]
    opponent = subject(review.opponent, quote)
    if blocking:
        return f"It fails against {opponent}: {'; '.join(map(reason, blocking))}."
    alpha = significance_level(review.gates)
    told = [_told(comparison, alpha, quote) for comparison in review.comparisons[:NAMED]]
    if others := len(review.comparisons) - NAMED:
        told += [f"and {others} more test sets"] if others > 0 else []
    return f"All required gates hold against {opponent}: {'; '.join(told)}."


def reason(gate: Gate) -> str:
    """Why a gate does not hold."""
    if gate.verdict == "missing":
        return f"{GATES[gate.name]} was not measured"
    return f"{GATES[gate.name]} is {gate_value(gate)}, {gate_limit(gate)} is allowed"


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
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """A share in per cent; what is not 0 never reads 0."""
    return "0 %" if value == 0 else "< 0.01 %" if value < 1e-4 else f"{100 * value:.4g} %"


def megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.1f} MB"


def _told(comparison: Comparison, alpha: float, quote: Quote) -> str:
    difference = comparison.differences["bleu"]
    p = p_value(difference.randomisation_p)
    chance = f"p {p}" if p.startswith("<") else f"p = {p}"
    return (
        f"BLEU {signed(difference.points)} on {quote(comparison.test_set)} ({judgement(difference, alpha)}, {chance})"
    )


def _with_unit(name: str, value: float) -> str:
    match name:
        case "bleu_drop" | "chrf_drop":
            return f"{value:.2f} points".replace("-", "−")
        case "significance":
            return f"{value:.4f}"
        case "latency_ratio" | "size_ratio":
            return f"{value:.2f} × the champion's"
        case "leak":
            return f"{value:,.0f}"
        case _:
            return share(value)
