"""Print how experiment $B differs from experiment $A: settings, data, scores and speed. BUILD_DIRECTORY

$FORMAT is table, the default, markdown or json.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.experiments.catalogue import all_experiments
from pipeline.experiments.evaluated import open_evaluated
from pipeline.experiments.side_by_side import METRICS, Score, SideBySide, Two, compare_experiments
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.text_table import Rows, aligned, markdown

OUTPUT_FORMATS = ("table", "markdown", "json")
USAGE = "as in: make compare A=default B=mine"


def compare() -> None:
    build = Path(sys.argv[1])
    known = all_experiments(Path(), build)
    form = os.environ.get("FORMAT") or OUTPUT_FORMATS[0]
    if form not in OUTPUT_FORMATS:
        raise UserError(f"FORMAT: got {form!r}, expected one of {', '.join(OUTPUT_FORMATS)}")
    names = [experiment_in(variable, known) for variable in ("A", "B")]
    if names[0] == names[1]:
        raise UserError(f"A and B are both {names[0]!r}, expected two experiments, {USAGE}")
    result = compare_experiments(*(open_evaluated(build, name) for name in names))
    if form == "json":
        print(json.dumps(result.as_json(), ensure_ascii=False, indent=2))
    else:
        print("\n".join(describe(result, form)))


def experiment_in(variable: str, known: list[str]) -> str:
    """Return the experiment that an environment variable names. Raise UserError if there is no such experiment."""
    name = os.environ.get(variable, "")
    if not name:
        raise UserError(f"{variable} is missing, expected the name of an experiment, {USAGE}")
    if name not in known:
        raise UserError(f"{variable}: got {name!r}, expected one of the experiments {', '.join(known)}")
    return name


def describe(result: SideBySide, form: str) -> list[str]:
    """Return the comparison in lines of text or Markdown."""
    lines = [f"# {result.b} compared with {result.a}"] if form == "markdown" else []
    for title, rows in sections(result):
        lines += ["", f"## {title}", "", *markdown(rows)] if form == "markdown" else ["", title, *aligned(rows)]
    return lines[1:] if form == "table" else lines


def sections(result: SideBySide) -> Iterator[tuple[str, Rows]]:
    """Yield the title and the rows of each table."""
    head = ("", result.a, result.b)
    if result.settings:
        yield "Settings that differ", [head, *_rows(result.settings)]
    else:
        yield "Settings", [head, ("all", "the same", "the same")]
    yield "Data", [head, *_rows(result.data)]
    if result.test_sets:
        columns = (*head, "difference", "by the paired bootstrap")
        yield "Scores of free translations, with 95 % intervals", [columns, *_score_rows(result)]
    if any(result.not_compared.values()):
        title = "Scores that are not compared, because only one experiment has the test set"
        yield title, [head, *_other_rows(result)]
    yield "Model", [head, *_rows(result.model)]
    yield "Speed", [head, *_rows(result.speed)]


def _rows(values: Mapping[str, Two]) -> Rows:
    return [(name, *both) for name, both in values.items()]


def _score_rows(result: SideBySide) -> Rows:
    rows = []
    for test_set in result.test_sets:
        other = "" if test_set.name_in_b == test_set.name else f" = {test_set.name_in_b}"
        for metric, score in test_set.scores.items():
            title = f"{test_set.name}{other} ({test_set.sentences:,}), {METRICS[metric]}"
            rows.append((title, *_cells(score), score.judgement))
    return rows


def _other_rows(result: SideBySide) -> Rows:
    rows = []
    for side, place in (("a", 0), ("b", 1)):
        for name, scores in result.not_compared[side].items():
            for metric, value in scores.items():
                cells = ["-", "-"]
                cells[place] = f"{value:.1f}"
                rows.append((f"{name}, {METRICS[metric]}", *cells))
    return rows


def _cells(score: Score) -> tuple[str, str, str]:
    (low_a, high_a), (low_b, high_b) = score.a_interval, score.b_interval
    interval = f" [{score.interval[0]:+.1f}, {score.interval[1]:+.1f}]" if score.interval else ""
    return (
        f"{score.a:.1f} [{low_a:.1f}, {high_a:.1f}]",
        f"{score.b:.1f} [{low_b:.1f}, {high_b:.1f}]",
        f"{score.difference:+.1f}{interval}",
    )


if __name__ == "__main__":
    fail_clearly(compare)
