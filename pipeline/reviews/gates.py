"""Judge the gates of a review: compare what was measured with the thresholds of the settings.

The value of a gate is the worst over all test sets.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..plumbing.params import GateSettings
from .comparison import CANDIDATE, Comparison, System
from .leaks import Leaks
from .non_inferiority import Loss, judge_loss
from .output_faults import Faults

GateVerdict = Literal["pass", "fail", "inconclusive", "missing", "does not apply"]
LOSSES = {"bleu_drop": "bleu", "chrf_drop": "chrf"}  # gate on a loss -> the score that is lost


@dataclass(frozen=True)
class Gate:
    """A gate and its result."""

    name: str
    value: float | None  # for a loss, its upper confidence limit; None if it could not be measured
    threshold: float  # for a loss, its margin
    required: bool
    verdict: GateVerdict
    needed: Mapping[str, int] = field(default_factory=dict)  # if inconclusive: test set -> sentences that it needs

    @property
    def holds(self) -> bool:
        """Return whether the gate passes or does not apply."""
        return self.verdict in ("pass", "does not apply")

    @property
    def blocks(self) -> bool:
        """Return whether the gate keeps the review from passing. A gate that is not required only causes a warning."""
        return self.required and not self.holds


def judge(
    settings: GateSettings, comparisons: Sequence[Comparison], candidate: System, opponent: System, leaks: Leaks
) -> list[Gate]:
    """Judge every gate, in the order of the settings. If a test set was not compared, the gates on losses are missing.

    A new champion may lose up to the margin against the old one. Against a baseline the margin is 0, so the first
    champion must be better.
    """
    tested = list(leaks.test_sets)
    compared = {comparison.test_set for comparison in comparisons} == set(tested)
    measured = {
        "latency_ratio": _ratio(_latency(candidate), _latency(opponent)),
        "size_ratio": _ratio(candidate.size_bytes, opponent.size_bytes),
        "empty_outputs": _largest(faults.empty for faults in _faults(comparisons)),
        "copied_outputs": _largest(faults.copied for faults in _faults(comparisons)),
        "looping_outputs": _largest(faults.looping for faults in _faults(comparisons)),
        "unknown_pieces": _over_all(tested, candidate.unknown_pieces),
        "leak": _over_all(tested, leaks.counts.get(CANDIDATE, {})),
    }
    unfit = {"latency_ratio", "size_ratio"} if opponent.is_baseline else set()
    gates = []
    for name, gate in settings.model_dump().items():
        if name in LOSSES:
            found = [(c.test_set, c.sentences, c.differences[LOSSES[name]]) for c in comparisons]
            margin = min(gate["margin"], 0.0) if opponent.is_baseline else gate["margin"]
            loss = judge_loss(found, margin) if compared else Loss(None, "missing", {})
            gates.append(Gate(name, loss.limit, margin, gate["required"], loss.verdict, loss.needed))
        else:
            gates.append(_gate(name, measured[name], gate["threshold"], gate["required"], applies=name not in unfit))
    return gates


def judge_all(gates: Iterable[Gate]) -> Literal["pass", "fail", "inconclusive"]:
    """Return pass if every required gate holds, or else inconclusive or fail.

    It is inconclusive if the required gates that do not hold only need more sentences.
    """
    blocking = [gate.verdict for gate in gates if gate.blocks]
    if not blocking:
        return "pass"
    return "inconclusive" if set(blocking) == {"inconclusive"} else "fail"


def _gate(name: str, value: float | None, threshold: float, required: bool, *, applies: bool) -> Gate:
    verdict: GateVerdict
    if not applies:
        value, verdict = None, "does not apply"
    elif value is None or not math.isfinite(value):
        value, verdict = None, "missing"
    else:
        verdict = "pass" if value <= threshold else "fail"
    return Gate(name, value, threshold, required, verdict)


def _faults(comparisons: Sequence[Comparison]) -> list[Faults]:
    return [comparison.faults[CANDIDATE] for comparison in comparisons]


def _over_all(tested: Sequence[str], values: Mapping[str, float]) -> float | None:
    """Return the largest value; None if a test set has no value, because a value that was not measured may be bad."""
    return _largest(values[name] for name in tested) if set(tested) <= values.keys() else None


def _latency(system: System) -> float | None:
    return system.speed.latency_p50_ms if system.speed else None


def _ratio(candidate: float | None, opponent: float | None) -> float | None:
    return candidate / opponent if candidate is not None and opponent else None


def _largest(values: Iterable[float]) -> float | None:
    """Return the largest value; None if there is no value, and NaN if one of them is NaN."""
    known = list(values)
    return math.nan if any(map(math.isnan, known)) else max(known, default=None)
