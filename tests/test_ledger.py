"""The record of ledger: what its entries come to, in any order of arrival, and that the aliases follow it."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import open_store
from pipeline.reviews.ledger import CHAMPION, PREVIOUS, Action, Entry, Ledger, State, replay

MODEL = "a model"


@pytest.fixture
def ledger(build: Path) -> Ledger:
    """The record of a model of nine versions."""
    client = open_store(build)
    client.create_registered_model(MODEL)
    for _ in range(9):
        client.create_model_version(MODEL, str(build / "nothing"))
    return Ledger(client, MODEL)


def change(ledger: Ledger, action: Action, version: int, seen: State | None = None) -> State:
    entry = ledger.append(action, version, seen or ledger.state(), "ann", "because", forced=False)
    ledger.set_aliases()
    ledger.settle(entry)
    return ledger.state()


def aliases(ledger: Ledger) -> dict[str, int]:
    return {alias: int(v) for alias, v in ledger.client.get_registered_model(MODEL).aliases.items()}


def test_promotions_and_rollbacks_move_both_aliases(ledger: Ledger) -> None:
    assert (ledger.state(), ledger.entries()) == (State(0, (), True), [])
    change(ledger, "promote", 1)
    assert aliases(ledger) == {CHAMPION: 1}
    for version in (2, 3):
        change(ledger, "promote", version)
    assert aliases(ledger) == {CHAMPION: 3, PREVIOUS: 2}
    change(ledger, "rollback", 2)
    assert aliases(ledger) == {CHAMPION: 2, PREVIOUS: 1}
    assert change(ledger, "rollback", 1).champions == (1,)
    assert aliases(ledger) == {CHAMPION: 1}
    assert change(ledger, "rollback", 0) == State(6, (), True)
    assert aliases(ledger) == {}
    assert [(e.number, e.action, e.version, e.after, e.by, e.settled) for e in ledger.entries()] == [
        (1, "promote", 1, 0, "ann", True),
        (2, "promote", 2, 1, "ann", True),
        (3, "promote", 3, 2, "ann", True),
        (4, "rollback", 2, 3, "ann", True),
        (5, "rollback", 1, 4, "ann", True),
        (6, "rollback", 0, 5, "ann", True),
    ]


def test_of_two_that_saw_the_same_champion_the_first_wins_and_the_other_is_told(ledger: Ledger) -> None:
    seen = change(ledger, "promote", 1)
    change(ledger, "promote", 2, seen)
    with pytest.raises(UserError, match=r"version 3 did not become the champion: version 2 did .*by ann \(because\)"):
        change(ledger, "promote", 3, seen)
    assert aliases(ledger) == {CHAMPION: 2, PREVIOUS: 1}
    assert [entry.version for entry in ledger.entries()] == [1, 2, 3]  # the loser is on record too


def test_an_author_who_dies_before_the_aliases_are_set_loses_nothing(ledger: Ledger) -> None:
    change(ledger, "promote", 1)
    ledger.append("promote", 2, ledger.state(), "ann", "then the power failed", forced=False)
    assert aliases(ledger) == {CHAMPION: 1}
    assert ledger.state() == State(2, (1, 2), False)
    ledger.set_aliases()
    assert aliases(ledger) == {CHAMPION: 2, PREVIOUS: 1}
    assert not ledger.state().settled  # its author has more to do


def test_an_alias_that_was_moved_by_hand_is_noticed(ledger: Ledger) -> None:
    state = change(ledger, "promote", 1)
    ledger.check_aliases(ledger.state())
    ledger.client.set_registered_model_alias(MODEL, CHAMPION, "7")
    with pytest.raises(UserError, match=r"is on version 7, but the record has 1: it was moved by hand; .*FORCE=1"):
        ledger.check_aliases(ledger.state())
    ledger.check_aliases(State(state.number, state.champions, settled=False))  # somebody is about to set it


def test_an_alias_that_another_decision_moved_meanwhile_was_not_moved_by_hand(ledger: Ledger) -> None:
    change(ledger, "promote", 1)
    seen = ledger.state()
    change(ledger, "promote", 2)
    ledger.check_aliases(seen)


def test_who_is_late_with_the_aliases_reads_the_record_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    change(ledger, "promote", 1)
    ledger.append("promote", 2, ledger.state(), "ann", "slow", forced=False)
    late: list[int] = []
    point = Ledger._point

    def after_another(self: Ledger, alias: str, version: int) -> None:
        if not late:
            late.append(version)
            change(ledger, "promote", 3)
        point(self, alias, version)

    monkeypatch.setattr(Ledger, "_point", after_another)
    ledger.set_aliases()
    assert late == [2]
    assert aliases(ledger) == {CHAMPION: 3, PREVIOUS: 2}


def test_an_alias_that_another_makes_at_the_same_moment_is_set_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MlflowClient.set_registered_model_alias
    refused: list[str] = []

    def refuse_once(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if not refused:
            refused.append(alias)
            raise MlflowException("UNIQUE constraint failed", error_code=BAD_REQUEST)
        real(self, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", refuse_once)
    change(ledger, "promote", 1)
    assert (aliases(ledger), refused) == ({CHAMPION: 1}, [CHAMPION])


def test_a_version_that_was_deleted_leaves_its_alias_free(ledger: Ledger) -> None:
    for version in (1, 2, 3):
        change(ledger, "promote", version)
    ledger.client.delete_model_version(MODEL, "2")
    assert ledger.set_aliases().champions == (1, 2, 3)
    assert aliases(ledger) == {CHAMPION: 3}


def test_a_request_that_was_sent_twice_is_one_entry(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MlflowClient.create_model_version

    def twice(self: MlflowClient, *arguments: object, **more: object) -> object:
        real(self, *arguments, **more)  # type: ignore[arg-type]
        return real(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "create_model_version", twice)
    for version in (1, 2):
        change(ledger, "promote", version)
    assert ledger.state().champions == (1, 2)
    assert [entry.version for entry in ledger.entries()] == [1, 2]


def test_many_at_once_leave_aliases_that_agree_with_the_record(ledger: Ledger) -> None:
    lost: list[str] = []

    def act(number: int) -> None:
        for _ in range(3):
            state = ledger.state()
            wants_rollback = state.previous and number % 2
            try:
                change(ledger, *(("rollback", state.previous) if wants_rollback else ("promote", number)), state)
            except UserError as error:
                lost.append(str(error))

    threads = [threading.Thread(target=act, args=[number]) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = ledger.entries()
    state, in_force = replay(entries)
    assert len(entries) == 18
    assert len(in_force) == 18 - len(lost)
    expected = {CHAMPION: state.champion} | ({PREVIOUS: state.previous} if state.previous else {})
    assert aliases(ledger) == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(0, 8)), max_size=8))
def test_replay_follows_one_chain(attempts: list[tuple[bool, int, int]]) -> None:
    entries = [
        Entry(n, str(n), "promote" if is_promotion else "rollback", version, after, "", "", "", False, True)
        for n, (is_promotion, version, after) in enumerate(attempts, start=1)
    ]
    state, in_force = replay(entries)
    chain = [entry for entry in entries if entry.number in in_force]
    assert [entry.after for entry in chain] == [0, *(entry.number for entry in chain)][: len(chain)]
    assert state.number == (chain[-1].number if chain else 0)
    if chain and chain[-1].action == "promote":
        assert state.champion == chain[-1].version
