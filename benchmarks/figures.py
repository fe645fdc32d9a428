"""Figures of a benchmark: medians of repeats with their spread, as a table, as JSON and in Markdown."""

import json
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.text_table import Rows, aligned, markdown


@dataclass(frozen=True)
class Figure:
    """One measured quantity."""

    what: str
    unit: str
    values: tuple[float, ...]  # one for each repeat
    ceiling: float | None = None  # what the machine could do at most, in the same unit

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest quartile; of fewer than four values, the lowest and the highest."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4)
        return low, high

    def as_json(self) -> dict[str, Any]:
        measured = {"what": self.what, "unit": self.unit, "median": self.median, "values": self.values}
        if self.ceiling is None:
            return measured
        return measured | {"ceiling": self.ceiling, "share_of_ceiling": self.median / self.ceiling}


def table(figures: Sequence[Figure]) -> Rows:
    """Return a row for each figure: median, spread, and the share of the ceiling if there is one."""
    rows = [("", "median", "spread", "unit", "of the ceiling")]
    for figure in figures:
        low, high = figure.spread
        share = "" if figure.ceiling is None else f"{figure.median / figure.ceiling:.0%} of {number(figure.ceiling)}"
        spread = "" if len(figure.values) == 1 else f"{number(low)} to {number(high)}"
        rows.append((figure.what, number(figure.median), spread, figure.unit, share))
    return rows


def number(value: float) -> str:
    """Return three significant digits: `14,300`, `48.2`, `0.035`."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = len(f"{abs(value):.0f}") - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def report(
    title: str,
    figures: Sequence[Figure],
    conditions: dict[str, str],
    output: Path,
    side_by_side: Rows | None = None,
) -> None:
    """Print the figures, and write them to `output`.json and `output`.md with the conditions of the measurement.

    In Markdown the table `side_by_side` takes the place of the figures' own table, if there is one.
    """
    rows = table(figures)
    print("\n".join([title, *aligned(rows)]))
    output.parent.mkdir(parents=True, exist_ok=True)
    document = {"title": title, "conditions": conditions, "figures": [figure.as_json() for figure in figures]}
    output.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    about = [f"{name}: {value}" for name, value in conditions.items()]
    text = "\n".join([f"# {title}", "", *markdown(side_by_side or rows), "", *about])
    output.with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def asked_for(variable: str, default: float) -> float:
    """Return the number in an environment variable, or the default. Raise UserError unless it is above 0."""
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"{variable}: got {text!r}, expected a number above 0, as in: {variable}={default:g}")
    return value


def repeat(work: Callable[[], float], times: int) -> tuple[float, ...]:
    """Return what `work` returns in each of `times` calls, after a call that is not counted."""
    work()
    return tuple(work() for _ in range(times))
