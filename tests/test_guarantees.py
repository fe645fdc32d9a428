"""The page of guarantees: each row names tests that exist, and says when they last ran."""

import ast
from pathlib import Path

import pytest

from tests.guarantees import Case, Row, read_reports, updated

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/guarantees.md").read_text("utf-8")
HEAD = "| guarantee | shown by | last shown |\n| --- | --- | --- |\n"
ROW = "| It holds | `tests/test_a.py`, `test_b.py::test_one_...` | never |\n"
REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_x[1-b]"/>
<testcase classname="tests.test_a" name="test_x[2]"><skipped message="no GPU"/></testcase>
<testcase classname="tests.test_b" name="test_one_more"><failure message="no">no</failure></testcase>
<testcase classname="tests.test_b" name="test_two"><error message="no">no</error></testcase>
</testsuite></testsuites>"""


def functions() -> list[Case]:
    """Return every test of the project, as if it had passed."""
    return [
        Case(path.stem, node.name, "passed")
        for path in sorted((ROOT / "tests").glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_every_guarantee_names_tests_that_are_there() -> None:
    rows = [row for line in PAGE.splitlines() if (row := Row.of(line))]
    assert len(rows) > 30
    known = functions()
    assert [row.guarantee for row in rows if not row.is_complete(known)] == []


def test_every_line_of_a_table_is_a_row() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    heads = [line for line in lines if line.startswith(("| guarantee", "| ---"))]
    assert [line for line in lines if not Row.of(line)] == heads


def test_a_row_tells_the_commit_and_how_its_tests_ended(tmp_path: Path) -> None:
    (tmp_path / "test.xml").write_text(REPORT)
    page = updated(HEAD + ROW, read_reports(tmp_path), "abc1234, 2026-01-02")
    assert page == HEAD + ROW.replace("never", "abc1234, 2026-01-02: 1 failed, 1 passed, 1 skipped")


@pytest.mark.parametrize("missing", ["test_a", "test_b"])
def test_a_row_of_which_a_test_did_not_run_stays_as_it_is(missing: str) -> None:
    cases = [Case("test_a", "test_x", "passed"), Case("test_b", "test_one_more", "passed")]
    assert updated(HEAD + ROW, [case for case in cases if case.file != missing], "now") == HEAD + ROW
    assert "now: 2 passed" in updated(HEAD + ROW, cases, "now")
