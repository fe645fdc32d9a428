"""Fifty processes promote and roll back one model at once. In the end aliases and history agree."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.reviews.promotion_history import CHAMPION, PREVIOUS, PromotionHistory, replay
from tests.mlflow_server import Server
from tests.registered import MODEL, SEEDS, register_versions
from tests.stores import store

ROOT = Path(__file__).parent.parent
CALLS = 50


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_call_counts_or_is_refused_and_the_aliases_agree_with_the_history(
    server: Server, database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if database == "postgresql":
        server.settings["STORE"] = request.getfixturevalue("postgres").make_database()
    server.start()
    register_versions(tmp_path / "build")
    first = run("promote", tmp_path, "0", VERSION="1")
    assert (first.communicate()[1], first.returncode) == ("", 0)
    calls = [
        run("rollback", tmp_path, str(n))
        if n % 3 == 0
        else run("promote", tmp_path, str(n), VERSION=str(n % len(SEEDS) + 1))
        for n in range(1, CALLS + 1)
    ]
    ends = {str(n): (call.communicate()[1], call.returncode) for n, call in enumerate(calls, start=1)}

    history = PromotionHistory(store(), MODEL)
    entries = history.entries()
    state, in_force = replay(entries)
    assert state.settled
    aliases = {alias: int(version) for alias, version in store().get_registered_model(MODEL).aliases.items()}
    *_, previous, champion = (0, *(each.number for each in state.champions))
    assert aliases == {CHAMPION: champion} | ({PREVIOUS: previous} if previous else {})

    # Each call changed the champion and is on record, or it was refused with one line.
    changed = {entry.reason for entry in entries if entry.number in in_force} - {"0"}
    assert changed == {reason for reason, (_, status) in ends.items() if status == 0}
    refusals = [message for message, status in ends.values() if status]
    assert all(status in (0, 2) for _, status in ends.values())
    known = (
        "did not become the champion",
        "is the champion already",
        "was champion before version",
        "has been champion yet",
    )
    assert [m for m in refusals if m.count("\n") != 1 or not any(k in m for k in known)] == []
    assert len(changed) + len(refusals) == CALLS
    assert {str(entry.version) for entry in entries} <= {"1", "2", "3"}


def run(command: str, directory: Path, reason: str, **asked: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "REASON": reason, "FORCE": "1", "OMP_NUM_THREADS": "1"} | asked
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{command}", str(ROOT / "params.yaml")],
        cwd=directory,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
