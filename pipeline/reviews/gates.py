"""Owns the gates: what each one measures, and what its threshold makes of that. Thresholds are the settings'.

A gate's value is the worst over all test sets. What it is measured on comes from `comparison` and `subjects`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..plumbing.params import GateSettings
from .comparison import CANDIDATE, Comparison
from .output_faults import Faults
from .subjects import Subject

Verdict = Literal["pass", "fail", "missing", "does not apply"]
AT_LEAST = {"significance"}  # all others may be at most their threshold


@dataclass(frozen=True)
class Gate:
    """One gate with what was measured; a value that could not be measured is None."""

    name: str
    value: float | None
    threshold: float
    required: bool
    verdict: Verdict

    @property
    def holds(self) -> bool:
        return self.verdict in ("pass", "does not apply")

    @property
    def blocks(self) -> bool:
        """Fails the review by itself; a gate that neither holds nor is required is a warning."""
        return self.required and not self.holds


def judge(
    settings: GateSettings,
    comparisons: Sequence[Comparison],
    candidate: Subject,
    opponent: Subject,
    leaked: Mapping[str, int] | None,
) -> list[Gate]:
    """Every gate, in the order of the settings. `leaked`: test set -> sources that the training corpus has."""
    tested = [comparison.test_set for comparison in comparisons]
    measured = {
        "bleu_drop": _largest(0.0 - c.differences["bleu"].points for c in comparisons),
        "chrf_drop": _largest(0.0 - c.differences["chrf"].points for c in comparisons),
        "significance": _least_p_of_a_loss(comparisons),
        "latency_ratio": _ratio(_latency(candidate), _latency(opponent)),
        "size_ratio": _ratio(candidate.size_bytes, opponent.size_bytes),
        "empty_outputs": _largest(faults.empty for faults in _faults(comparisons)),
        "copied_outputs": _largest(faults.copied for faults in _faults(comparisons)),
        "looping_outputs": _largest(faults.looping for faults in _faults(comparisons)),
        "unknown_pieces": _over_all(tested, candidate.unknown_pieces),
        "leak": _over_all(tested, leaked or {}),
    }
    unfit = {"latency_ratio", "size_ratio"} if opponent.is_baseline else set()
    return [
        _gate(name, measured[name], setting["threshold"], setting["required"], applies=name not in unfit)
        for name, setting in settings.model_dump().items()
    ]


def passes(gates: Iterable[Gate]) -> bool:
    """Whether every required gate holds."""
    return not any(gate.blocks for gate in gates)


def _gate(name: str, value: float | None, threshold: float, required: bool, *, applies: bool) -> Gate:
    verdict: Verdict
    if not applies:
        value, verdict = None, "does not apply"
    elif value is None or not math.isfinite(value):
        value, verdict = None, "missing"
    elif name in AT_LEAST:
        verdict = "pass" if value >= threshold else "fail"
    else:
        verdict = "pass" if value <= threshold else "fail"
    return Gate(name, value, threshold, required, verdict)


def _least_p_of_a_loss(comparisons: Sequence[Comparison]) -> float | None:
    """The surest of the losses in BLEU; 1 where there is none."""
    losses = [d.randomisation_p for c in comparisons if (d := c.differences["bleu"]).points < 0]
    known = [p for p in losses if p is not None]
    return min([1.0, *known]) if comparisons and len(known) == len(losses) else None


def _faults(comparisons: Sequence[Comparison]) -> list[Faults]:
    return [comparison.faults[CANDIDATE] for comparison in comparisons]


def _over_all(tested: Sequence[str], values: Mapping[str, float]) -> float | None:
    """The largest value; None where a test set has none: what was not looked at is not known to be good."""
    return _largest(values[name] for name in tested) if set(tested) <= values.keys() else None


def _latency(subject: Subject) -> float | None:
    return subject.speed.latency_p50_ms if subject.speed else None


def _ratio(candidate: float | None, opponent: float | None) -> float | None:
    return candidate / opponent if candidate is not None and opponent else None


def _largest(values: Iterable[float]) -> float | None:
    """Of none there is none; one that is not a number is not passed over."""
    known = list(values)
    return math.nan if any(map(math.isnan, known)) else max(known, default=None)
