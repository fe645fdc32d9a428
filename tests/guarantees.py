"""Write to docs/guarantees.md when each guarantee was last tested: python -m tests.guarantees REPORTS

REPORTS is a directory with the JUnit reports of pytest. `make test-all` runs this after all tests. A row is not changed
if one of its tests did not run.
"""

import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path("docs/guarantees.md")
# `tests/test_make.py`, `test_make.py::test_name`, or `test_make.py::test_begins_with_...`
TEST = re.compile(r"`(?:tests/)?(test_\w+)\.py(?:::(test_\w+?)(\.\.\.)?)?`")


@dataclass(frozen=True)
class Case:
    """A test that ran: the file without its suffix, the function's name without parameters, and how it ended."""

    file: str
    function: str
    outcome: str  # passed, failed or skipped


@dataclass(frozen=True)
class Row:
    """A line of a table of guarantees."""

    guarantee: str
    tests: str
    shown: str

    @classmethod
    def of(cls, line: str) -> "Row | None":
        """Return the row in a line of the page; None if it is not a row, or the head of a table."""
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        return cls(*cells) if line.startswith("|") and len(cells) == 3 and TEST.search(cells[1]) else None

    def __str__(self) -> str:
        return f"| {self.guarantee} | {self.tests} | {self.shown} |"

    def is_about(self, case: Case) -> bool:
        """Return whether the row names the test."""
        return any(_names(test, case) for test in TEST.finditer(self.tests))

    def is_complete(self, cases: Sequence[Case]) -> bool:
        """Return whether some test ran for each name in the row."""
        return all(any(_names(test, case) for case in cases) for test in TEST.finditer(self.tests))


def _names(test: re.Match[str], case: Case) -> bool:
    file, function, is_beginning = test.groups()
    if file != case.file:
        return False
    return function is None or (case.function.startswith(function) if is_beginning else case.function == function)


def read_reports(directory: Path) -> list[Case]:
    """Return the tests in all JUnit reports of a directory."""
    return [
        Case(
            element.get("classname", "").rpartition(".")[2],
            element.get("name", "").partition("[")[0],
            _outcome(element),
        )
        for report in sorted(directory.glob("*.xml"))
        for element in ElementTree.parse(report).iter("testcase")
    ]


def _outcome(element: ElementTree.Element) -> str:
    if element.find("failure") is not None or element.find("error") is not None:
        return "failed"
    return "skipped" if element.find("skipped") is not None else "passed"


def updated(page: str, cases: Sequence[Case], when: str) -> str:
    """Return the page with `when` and the counts of tests in each row whose tests are among `cases`."""
    lines = []
    for line in page.splitlines():
        row = Row.of(line)
        if row and row.is_complete(cases):
            counts = Counter(case.outcome for case in cases if row.is_about(case))
            found = ", ".join(f"{counts[name]:,} {name}" for name in ("failed", "passed", "skipped") if counts[name])
            line = str(Row(row.guarantee, row.tests, f"{when}: {found}"))
        lines.append(line)
    return "\n".join(lines) + "\n"


def _commit() -> str:
    """Return the short name of the commit, and whether tracked files differ from it."""
    name = _git("rev-parse", "--short=7", "HEAD")
    return f"{name} with changes" if _git("status", "--porcelain", "--untracked-files=no") else name


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Update the page, and print the rows with a test that failed."""
    cases = read_reports(Path(sys.argv[1]))
    page = updated(PAGE.read_text("utf-8"), cases, f"{_commit()}, {time.strftime('%Y-%m-%d')}")
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE}: written, of {len(cases):,} tests")
    for row in filter(None, map(Row.of, page.splitlines())):
        if "failed" in row.shown:
            print(f"not shown: {row.guarantee}: {row.shown}")


if __name__ == "__main__":
    main()
