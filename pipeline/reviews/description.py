"""Describe a review in words and figures: for its report, for the terminal, and for the page of the reviewed version.

Names of models and test sets come from outside. Each function that puts them into a sentence is told how to quote them.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..plumbing.artifacts import experiment_option
from ..registry.card import DESCRIPTION_CHARACTERS, NBSP, code_span, table_row
from ..registry.limits import TOO_LONG
from .bootstrap import Difference
from .comparison import CANDIDATE, OPPONENT, Comparison, System
from .gates import LOSSES, Gate
from .non_inferiority import POWER
from .review import Review

Quote = Callable[[str], str]

METRICS = {"bleu": "BLEU", "chrf": "chrF2"}
# Gate -> its short name, and what is measured.
GATES = {
    "bleu_drop": ("BLEU", "difference from the opponent, with its confidence limits"),
    "chrf_drop": ("chrF2", "difference from the opponent, with its confidence limits"),
    "latency_ratio": ("latency", "median time for a single sentence, relative to the champion's"),
    "size_ratio": ("size", "bytes of the package, relative to the champion's"),
    "empty_outputs": ("empty translations", "share of the translations"),
    "copied_outputs": (
        "copied sources",
        "share of the translations that repeat the source, unlike the reference",
    ),
    "looping_outputs": ("repetitions", "share of the translations that say the same four times in a row"),
    "unknown_pieces": ("unknown pieces", "share of the sources' pieces that the tokenizer does not know"),
    "leak": ("leaked test sentences", "test sentences that the candidate was trained on"),
}
NAMED = 3  # test sets in one sentence


def system_name(system: System, quote: Quote) -> str:
    """Return `translator-en-de version 3`, or `the baseline translation memory`."""
    name = quote(system.name)
    return f"the baseline {name}" if system.is_baseline else f"{name} version {system.version}"


def verdict_sentence(review: Review, quote: Quote) -> str:
    """Return the verdict's reason in one sentence."""
    opponent = system_name(review.opponent, quote)
    if review.failure:
        return f"The candidate could not be tested: {review.failure.reason}."
    if blocking := [gate for gate in review.gates if gate.blocks]:
        told = "; ".join(reasons(review, blocking, quote))
        if review.verdict == "inconclusive":
            return f"The test sets are too small to compare it with {opponent}: {told}."
        return f"It fails against {opponent}: {told}."
    told = ", ".join(
        f"{difference(comparison.differences['bleu'])} on {quote(comparison.test_set)}"
        for comparison in review.comparisons[:NAMED]
    )
    if (others := len(review.comparisons) - NAMED) > 0:
        told += f", and {others} more test sets"
    figures = f": BLEU {told}" if told else ""
    return f"{_standing(review)} {opponent}{figures}. All required gates hold."


def reasons(review: Review, gates: Sequence[Gate], quote: Quote) -> list[str]:
    """Return why each of these gates does not hold."""
    told = []
    for gate in gates:
        name = GATES[gate.name][0]
        if gate.verdict == "missing":
            told.append(f"{name}: not measured")
            continue
        reason = f"{name} {gate_value(review, gate, quote)} ({gate_limit(gate)})"
        told.append(f"{reason}; {_sentences_needed(gate, quote)}" if gate.verdict == "inconclusive" else reason)
    return told


def warnings(review: Review, quote: Quote) -> list[str]:
    """Return sentences about gates that do not hold but are not required, and about what the review could not see."""
    missed = [gate for gate in review.gates if not gate.holds and not gate.required]
    told = [f"{reason}; this gate is not required" for gate in missed for reason in reasons(review, [gate], quote)]
    if OPPONENT in review.leaks.unchecked:
        told.append(
            "the champion may have been trained on test sentences: its fingerprints were made by another rule; if it "
            "was, its scores are too high"
        )
    return told + _too_long(review, quote) + _origins(review, quote)


def leaks(review: Review, test_set: str) -> str:
    """Return `3 of 1,000 sentences left out: the candidate was trained on 0 of them, the champion on 3`."""
    left_out, sentences = review.leaks.left_out[test_set], review.leaks.test_sets[test_set]
    systems = {CANDIDATE: "the candidate"} | ({} if review.opponent.is_baseline else {OPPONENT: "the champion"})
    told = []
    for system, name in systems.items():
        counts = review.leaks.counts.get(system)
        told.append(f"{name} was trained on {counts[test_set]:,}" if counts else f"{name} could not be checked")
    return f"{left_out:,} of {sentences:,} sentences left out: {', '.join(told)}"


def next_step(review: Review) -> tuple[str, str]:
    """Return a sentence that says what to do next, and a command ready to be typed; without one, an empty text."""
    version, option = review.candidate.version, experiment_option(review.provenance.experiment)
    promote = f'make promote VERSION={version} REASON="{short_reason(review)}"'
    match review.verdict:
        case "pass":
            return "To make it the champion, type:", f"{promote}{option}"
        case "inconclusive":
            return "Add test sentences (review.test_sets), then type:", f"make review VERSION={version}{option}"
    if review.failure:
        return "Train or register another version.", ""
    return "To make it the champion in spite of this, with your reason on record, type:", f"{promote} FORCE=1{option}"


def gate_value(review: Review, gate: Gate, quote: Quote) -> str:
    """Return what was measured on the worst test set: `+11.63 [10.21, 13.05]`, `0.5 %`, `1.03 ×`."""
    if gate.verdict == "does not apply":
        return "–"
    if gate.name in LOSSES and review.comparisons:
        return _worst_difference(review, LOSSES[gate.name], quote)
    return "not measured" if gate.value is None else _with_unit(gate.name, gate.value)


def gate_limit(gate: Gate) -> str:
    """Return `required: not worse than −1.0`, or `expected: at most 1.50 ×` for a gate that is not required."""
    limit = f"at most {_with_unit(gate.name, gate.threshold)}"
    if gate.name in LOSSES:
        points = f"{-gate.threshold:+}".replace("-", "−") if gate.threshold else "0"
        limit = f"at least {points}" if gate.threshold < 0 else f"not worse than {points}"
    return f"{'required' if gate.required else 'expected'}: {limit}"


def judgement(difference: Difference) -> Literal["better", "worse", "no clear difference"]:
    """Return better or worse if both confidence limits are on the same side of 0."""
    if difference.limits is None or difference.limits[0] <= 0 <= difference.limits[1]:
        return "no clear difference"
    return "better" if difference.limits[0] > 0 else "worse"


def signed(points: float, digits: int = 2) -> str:
    """Return `+1.20` or `−1.20`, with a minus sign as wide as the plus."""
    text = f"{points:+.{digits}f}"
    return (text.replace("-", "−") if float(text) else text[1:]).strip()


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    """Return `[10.2, 13.1]`; nothing if there are no limits."""
    return "" if ends is None else f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]".replace("-", "−")


def share(value: float) -> str:
    """Return a share in per cent. Only 0 itself reads 0."""
    number = "0" if value == 0 else f"<{NBSP}0.01" if value < 1e-4 else f"{100 * value:.4g}"
    return f"{number}{NBSP}%"


def score(comparison: Comparison, system: str, metric: str) -> str:
    """Return a system's score with its 95 % interval."""
    scores = comparison.scores[system]
    return f"{getattr(scores, metric):.1f} {interval(getattr(scores, f'{metric}_interval'))}"


def difference(found: Difference) -> str:
    """Return a difference with its confidence limits: `+11.63 [10.21, 13.05]`."""
    return f"{signed(found.points)} {interval(found.limits, 2)}".rstrip()


def short_reason(review: Review) -> str:
    """Return `BLEU +11.6 against version 2`, without any name from outside; of several test sets, the worst."""
    opponent = "the best baseline" if review.opponent.is_baseline else f"version {review.opponent.version}"
    points = [comparison.differences["bleu"].points for comparison in review.comparisons]
    return f"BLEU {signed(min(points), 1)} against {opponent}" if points else "Nothing was compared"


def write_description(review: Review, report: str) -> str:
    """Write the description of a reviewed version, Markdown: the review, then the model card. `report`: its address.

    The first line is plain text, because tables of MLflow show it as it stands. Sections at the end are left out until
    the rest fits into MLflow's databases.
    """
    text = _TEMPLATE.render(review=review, report=report)
    sections = re.split(r"\n\n(?=##)", text.strip())
    while len("\n\n".join(sections)) + 1 > DESCRIPTION_CHARACTERS:
        sections.pop()
    return "\n\n".join(sections) + "\n"


def _code(name: str, longest: int = 48) -> str:
    return code_span(name, longest)


def _worst_difference(review: Review, metric: str, quote: Quote) -> str:
    """Return the difference on the test set with the lowest lower limit. If there are several, name that test set."""
    differences = {comparison.test_set: comparison.differences[metric] for comparison in review.comparisons}
    worst = min(differences, key=lambda name: (differences[name].limits or (-1e9,))[0])
    limits = "" if differences[worst].limits else ", too few sentences for confidence limits"
    place = f" on {quote(worst)}" if len(differences) > 1 else ""
    return f"{difference(differences[worst])}{limits}{place}"


def _sentences_needed(gate: Gate, quote: Quote) -> str:
    """Return `test needs 2,300 sentences, so that an equal candidate passes in 80 % of the reviews`."""
    names = [f"{quote(name)} needs {number:,} sentences" for name, number in list(gate.needed.items())[:NAMED]]
    more = [f"{len(gate.needed) - NAMED} others need more, too"] if len(gate.needed) > NAMED else []
    return f"{', '.join(names + more)}, so that an equal candidate passes in {share(POWER)} of the reviews"


def _standing(review: Review) -> str:
    """Return the outcome over all test sets, up to the opponent's name: `Better than`."""
    outcomes = [judgement(comparison.differences["bleu"]) for comparison in review.comparisons]
    better, worse = outcomes.count("better"), outcomes.count("worse")
    if worse:
        within = any(gate.name == "bleu_drop" and gate.holds for gate in review.gates)  # it may not be required
        return f"Worse on {worse} of {len(outcomes)} test sets{', but within the margin,' if within else ''} than"
    if better == len(outcomes) > 0:
        return "Better than"
    return f"Better on {better} of {len(outcomes)} test sets than" if better else "No clear difference from"


def _too_long(review: Review, quote: Quote) -> list[str]:
    """Say how many test sentences were too long for a model, and where the first one is."""
    told = [
        f"{quote(name)}: {_lines(lines)} left out for both, the first is line {lines[0]}: {TOO_LONG}; cut such lines "
        "into sentences, on both sides"
        for name, lines in review.too_long.left_out.items()
    ]
    return told + [
        f"{quote(name)}: {_lines(lines)} too long for the candidate but not for the champion, the first is line "
        f"{lines[0]}; the candidate's translation counts as empty there"
        for name, lines in review.too_long.empty.items()
    ]


def _lines(lines: Sequence[int]) -> str:
    return f"{len(lines):,} line{'' if len(lines) == 1 else 's'}"


def _origins(review: Review, quote: Quote) -> list[str]:
    """Say which test sets the candidate's author chose."""
    origins = review.provenance.origins
    if origins and set(origins.values()) == {"candidate"}:
        return [
            "all test sets come from the candidate's own run: its author chose the sources, the references and the "
            "baseline's translations; add test sets of your own (review.test_sets)"
        ]
    ours, theirs = (
        ", ".join(quote(name) for name, origin in origins.items() if origin == side)
        for side in ("candidate", "champion")
    )
    if not theirs:
        return []
    told = f"the candidate was not evaluated on {theirs}, which the champion was; the review uses it as well"
    return [f"{told}; {ours} is the candidate's alone" if ours else told]


def _with_unit(name: str, value: float) -> str:
    match name:
        case "latency_ratio" | "size_ratio":
            return f"{value:.2f}{NBSP}×"
        case "leak":
            return f"{value:,.0f}"
        case _:
            return share(value)


# What templates may call; report.html uses it, too.
WORDS = {
    function.__name__: function
    for function in (
        *(system_name, verdict_sentence, short_reason, warnings, leaks, next_step),
        *(gate_value, gate_limit, judgement, score, difference, signed, interval, share),
    )
} | {"METRICS": METRICS, "GATES": GATES}
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.globals |= WORDS | {"code": _code, "row": table_row}
_TEMPLATE = _ENVIRONMENT.get_template("description.md")
