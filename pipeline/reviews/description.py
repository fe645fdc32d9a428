"""Write the description of a reviewed version: a review in Markdown, short enough for MLflow's databases.

What is least important is left out whole until the rest fits. The page with all of it is `report`'s.
"""

from collections.abc import Sequence

from ..registry.card import DESCRIPTION_CHARACTERS, code_span
from . import wording
from .comparison import CANDIDATE, OPPONENT, Change, System
from .review import Review

TEST_SETS = 6  # in the table of scores
EXAMPLES = 2  # gains, and as many losses
PADDING = "\u00a0" * 2
NAME, TEXT = 48, 140  # longest name and longest text, in characters


def write_description(review: Review) -> str:
    """The verdict, the gates, the scores, what was compared, a few sentences: by importance."""
    sections = [
        _verdict(review),
        _gates(review),
        _scores(review),
        _leaks(review),
        _subjects(review),
        _examples("Largest gains", [gain for comparison in review.comparisons for gain in comparison.gains]),
        _examples("Largest losses", [loss for comparison in review.comparisons for loss in comparison.losses]),
    ]
    kept = [section for section in sections if section]
    while len("\n\n".join(kept)) + 1 > DESCRIPTION_CHARACTERS:
        kept.pop()
    return "\n\n".join(kept) + "\n"


def _quote(name: str) -> str:
    return code_span(name, longest=NAME)


def _verdict(review: Review) -> str:
    lines = [f"**Review: {review.verdict}.** {wording.verdict(review, _quote)}"]
    lines += [f"Warning: {warning}." for warning in wording.warnings(review, _quote)]
    return "\n\n".join(lines)


def _gates(review: Review) -> str:
    lines = [
        "### Gates",
        "",
        _row("gate", "value, worst test set", "threshold", "verdict"),
        "| --- | --- | --- | --- |",
    ]
    for gate in review.gates:
        verdict = gate.verdict if gate.holds else f"**{gate.verdict}**"
        need = "" if gate.required else ", not required"
        lines.append(_row(gate.name, wording.gate_value(gate), wording.gate_limit(gate), f"{verdict}{need}"))
    return "\n".join(lines)


def _scores(review: Review) -> str:
    if not review.comparisons:
        return ""
    lines = [
        "### Scores",
        "",
        _row("test set", "metric", "candidate", "opponent", "difference, confidence limits"),
        "| --- | --- | --- | --- | --- |",
    ]
    for comparison in review.comparisons[:TEST_SETS]:
        for metric, title in wording.METRICS.items():
            difference = comparison.differences[metric]
            scores = [
                f"{getattr(comparison.scores[system], metric):.1f} "
                f"{wording.interval(getattr(comparison.scores[system], f'{metric}_interval'))}"
                for system in (CANDIDATE, OPPONENT)
            ]
            change = f"{wording.signed(difference.points)} {wording.interval(difference.limits)}"
            name = f"{_cell(comparison.test_set)} ({comparison.sentences:,})"
            lines.append(_row(name, title, *scores, change))
    signatures = " · ".join(code_span(text) for text in review.comparisons[0].signatures.values())
    lines += ["", f"Limits by the paired bootstrap, in brackets. {signatures}"]
    if (others := len(review.comparisons) - TEST_SETS) > 0:
        lines.append(f"{others} more test sets are in the report.")
    return "\n".join(lines)


def _leaks(review: Review) -> str:
    """Say of each test set how much of it was trained on."""
    lines = ["### Test sentences that were trained on", ""]
    lines += [f"- {_quote(name)}: {wording.leaks(review, name)}" for name in list(review.leaks.test_sets)[:TEST_SETS]]
    return "\n".join(lines) if review.leaks.test_sets else ""


def _row(*cells: str) -> str:
    """A row of a table, with the space between columns that MLflow's page leaves out."""
    return f"| {' | '.join(cell + PADDING for cell in cells)} |"


def _cell(name: str) -> str:
    """A name inside a table, where a bar ends the cell even in a code span."""
    return _quote(name.replace("|", "¦"))


def _subjects(review: Review) -> str:
    lines = ["### Compared", ""]
    lines += [_subject("candidate", review.candidate), _subject("opponent", review.opponent)]
    made = review.provenance
    commit = code_span(made.commit or "not under git", longest=NAME)
    lines.append(f"- reviewed {code_span(made.time, NAME)} by {_quote(made.reviewer)} with commit {commit}")
    lines.append(f"- {code_span(made.isolation, longest=len(made.isolation))}")
    return "\n".join(lines)


def _subject(title: str, system: System) -> str:
    digests = [f"{_quote(name)} {code_span(digest, longest=64)}" for name, digest in list(system.digests.items())[:4]]
    commit = [f"commit {_quote(system.commit)}"] if system.commit else []
    size = [wording.megabytes(system.size_bytes)] if system.size_bytes is not None else []
    return f"- {title}: {', '.join([wording.system_name(system, _quote), *commit, *size, *digests])}"


def _examples(title: str, changes: Sequence[Change]) -> str:
    """Of all test sets, the sentences that changed most."""
    chosen = sorted(changes, key=lambda change: -abs(change.points))[:EXAMPLES]
    if not chosen:
        return ""
    lines = [f"### {title}, chrF of the sentence"]
    for change in chosen:
        lines += ["", f"- {wording.signed(change.points, 1)}, source: {code_span(change.source, TEXT)}"]
        for side in ("reference", "candidate", "opponent"):
            lines.append(f"  - {side}: {code_span(getattr(change, side), TEXT)}")
    return "\n".join(lines)
