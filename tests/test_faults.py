"""Interruptions at any place and by any signal change no file, metric, run, model or version.

`make test-faults` runs it: at least 200 interruptions, each followed by a `make`. The short form compares a
training without interruptions with one that was killed. It is in tests/test_make_kills.py.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.faults import outcome, run_interrupted, small_project

CHAINS = 33  # of 7 interruptions each; some come after the end of make


@pytest.fixture(scope="module")
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """The number of processes, and the outcome without interruptions."""
    project = small_project(tmp_path_factory.mktemp("undisturbed"))
    run = project.make(f"NPROC={request.param}")
    assert run.returncode == 0, run.stdout + run.stderr
    return request.param, outcome(project)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("undisturbed", "seed"), [(2 if seed % 3 == 2 else 1, seed) for seed in range(CHAINS)], indirect=["undisturbed"]
)
def test_interrupted_anywhere_it_ends_as_undisturbed(
    undisturbed: tuple[int, dict[str, Any]], seed: int, tmp_path: Path
) -> None:
    processes, expected = undisturbed
    project = small_project(tmp_path)
    hits = run_interrupted(project, seed, processes)
    print(f"\nseed {seed}, {processes} processes, {len(hits)} interruptions: {'; '.join(hits)}")
    actual = outcome(project)
    for part, content in expected.items():
        assert actual[part] == content, f"{part} after {hits}"
