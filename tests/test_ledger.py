"""The record of ledger: what its entries come to, in any order of arrival, and that the aliases follow it."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.tracking.store import open_store
from pipeline.registry.versions import VersionId, identify
from pipeline.reviews.ledger import CHAMPION, LOST, PREVIOUS, Action, Entry, Ledger, State, replay

MODEL = "a model"


@pytest.fixture
def ledger(build: Path) -> Ledger:
    """The record of a model of nine versions."""
    client = open_store(build)
    client.create_registered_model(MODEL)
    for _ in range(9):
        client.create_model_version(MODEL, str(build / "nothing"))
    return Ledger(client, MODEL)


def identity(ledger: Ledger, version: int) -> VersionId:
    return identify(ledger.client.get_model_version(MODEL, str(version)))


def numbers(state: State) -> tuple[int, ...]:
    return tuple(champion.number for champion in state.champions)


def append(ledger: Ledger, action: Action, version: int, seen: State, reason: str = "because") -> Entry:
    chosen = identity(ledger, version) if version else None
    return ledger.append(action, chosen, seen, "ann", reason, forced=False)


def change(ledger: Ledger, action: Action, version: int, seen: State | None = None) -> State:
    entry = append(ledger, action, version, seen or ledger.state())
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
    assert numbers(change(ledger, "rollback", 1)) == (1,)
    assert aliases(ledger) == {CHAMPION: 1}
    assert change(ledger, "rollback", 0) == State(6, (), True)
    assert aliases(ledger) == {}
    told = [
        (e.number, e.action, e.version.number if e.version else 0, e.after, e.by, e.settled) for e in ledger.entries()
    ]
    assert told == [
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
    assert [str(entry.version) for entry in ledger.entries()] == ["1", "2", "3"]  # the loser is on record too


def test_an_author_who_dies_before_the_aliases_are_set_loses_nothing(ledger: Ledger) -> None:
    change(ledger, "promote", 1)
    append(ledger, "promote", 2, ledger.state(), "then the power failed")
    assert aliases(ledger) == {CHAMPION: 1}
    assert (ledger.state().number, numbers(ledger.state()), ledger.state().settled) == (2, (1, 2), False)
    ledger.set_aliases()
    assert aliases(ledger) == {CHAMPION: 2, PREVIOUS: 1}
    assert not ledger.state().settled  # its author has more to do


def test_an_alias_that_was_moved_by_hand_is_noticed(ledger: Ledger) -> None:
    state = change(ledger, "promote", 1)
    assert ledger.moved_by_hand(state) is None
    ledger.client.set_registered_model_alias(MODEL, CHAMPION, "7")
    assert ledger.moved_by_hand(state) == (7, 1)
    assert ledger.moved_by_hand(replace(state, settled=False)) is None  # somebody is about to set it
    ledger.client.delete_registered_model_alias(MODEL, CHAMPION)
    assert ledger.moved_by_hand(state) == (0, 1)
    ledger.client.delete_model_version(MODEL, "1")
    assert ledger.moved_by_hand(state) is None  # there is none that it could be on


def test_an_alias_that_another_decision_moved_meanwhile_was_not_moved_by_hand(ledger: Ledger) -> None:
    change(ledger, "promote", 1)
    seen = ledger.state()
    change(ledger, "promote", 2)
    assert ledger.moved_by_hand(seen) is None


def test_who_is_late_with_the_aliases_reads_the_record_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    change(ledger, "promote", 1)
    append(ledger, "promote", 2, ledger.state(), "slow")
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


def test_a_version_that_was_deleted_leaves_its_alias_to_the_one_before(ledger: Ledger) -> None:
    for version in (1, 2, 3):
        change(ledger, "promote", version)
    ledger.client.delete_model_version(MODEL, "2")
    assert numbers(ledger.set_aliases()) == (1, 2, 3)
    assert aliases(ledger) == {CHAMPION: 3, PREVIOUS: 1}


def test_a_champion_is_not_its_own_predecessor(ledger: Ledger) -> None:
    for version in (1, 2, 1):
        change(ledger, "promote", version)
    ledger.client.delete_model_version(MODEL, "2")
    assert ledger.before(ledger.set_aliases()) is None
    assert aliases(ledger) == {CHAMPION: 1}
    change(ledger, "promote", 3)
    assert numbers(change(ledger, "rollback", 1)) == (1, 2, 1)
    assert numbers(change(ledger, "rollback", 1)) == (1,)  # as when its alias was taken away


def test_the_record_outlives_the_model_and_takes_no_other_version_for_the_champion(ledger: Ledger) -> None:
    for version in (1, 2):
        change(ledger, "promote", version)
    state = ledger.state()
    ledger.client.delete_registered_model(MODEL)
    assert ledger.state() == state
    ledger.client.create_registered_model(MODEL)
    for _ in range(2):
        ledger.client.create_model_version(MODEL, "nothing")
    assert ledger.last_existing(state.champions) is None
    ledger.set_aliases()
    assert aliases(ledger) == {}
    assert numbers(change(ledger, "promote", 2)) == (1, 2, 2)
    assert ledger.state().champion == identity(ledger, 2) != state.champion
    assert aliases(ledger) == {CHAMPION: 2}


@pytest.mark.parametrize("spoil", ["delete", "key", "version", "action"])
def test_an_entry_that_somebody_deleted_or_edited_takes_no_other_with_it(ledger: Ledger, spoil: str) -> None:
    for version in (1, 2, 3):
        change(ledger, "promote", version)
    if spoil == "delete":
        ledger.client.delete_model_version(ledger.name, "2")
    elif spoil == "key":
        ledger.client.delete_model_version_tag(ledger.name, "2", spoil)
    else:
        ledger.client.set_model_version_tag(ledger.name, "2", spoil, "what?")
    assert numbers(ledger.state()) == (1, 3)
    assert numbers(change(ledger, "rollback", 1)) == (1,)
    assert aliases(ledger) == {CHAMPION: 1}


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_decision_that_lost_is_not_revived_when_the_faster_one_is_deleted(ledger: Ledger, is_marked: bool) -> None:
    seen = change(ledger, "promote", 1)
    change(ledger, "promote", 2, seen)
    with pytest.raises(UserError, match="did not become"):
        change(ledger, "promote", 3, seen)
    if is_marked:
        ledger.client.delete_model_version(ledger.name, "2")
        assert numbers(ledger.state()) == (1,)
        change(ledger, "promote", 4)
    else:  # its author died first, but another has seen the faster one in force
        ledger.client.delete_model_version_tag(ledger.name, "3", LOST)
        change(ledger, "promote", 4)
        ledger.client.delete_model_version(ledger.name, "2")
    assert numbers(ledger.state()) == (1, 4)
    assert numbers(replay(ledger.entries(), 4)[0]) == (1,)
    assert numbers(change(ledger, "promote", 5)) == (1, 4, 5)


def test_an_entry_that_may_have_lost_to_a_deleted_one_is_not_certain(ledger: Ledger) -> None:
    seen = change(ledger, "promote", 1)
    append(ledger, "promote", 2, seen)
    assert ledger.is_certain(ledger.state())
    with pytest.raises(UserError, match="did not become"):
        append(ledger, "promote", 3, seen)
    ledger.client.delete_model_version_tag(ledger.name, "3", LOST)
    ledger.client.delete_model_version(ledger.name, "2")
    assert not ledger.is_certain(ledger.state())


def test_an_early_entry_names_a_version_by_its_number_alone(ledger: Ledger) -> None:
    for version in (1, 2):
        change(ledger, "promote", version)
        ledger.client.delete_model_version_tag(ledger.name, str(version), "created")
    state = ledger.state()
    assert state.champions == (identity(ledger, 1), identity(ledger, 2))
    assert numbers(change(ledger, "promote", 3)) == (1, 2, 3)
    ledger.client.delete_registered_model(MODEL)
    ledger.client.create_registered_model(MODEL)
    for _ in range(2):
        ledger.client.create_model_version(MODEL, "nothing")
    assert numbers(ledger.state()) == (1, 2, 3)
    assert ledger.last_existing(ledger.state().champions) is None  # these are others, made after the decision


def test_a_record_that_was_deleted_begins_again(ledger: Ledger) -> None:
    for version in (1, 2):
        change(ledger, "promote", version)
    seen = ledger.state()
    ledger.client.delete_registered_model(ledger.name)
    assert ledger.moved_by_hand(ledger.state()) == (2, 0)
    with pytest.raises(
        UserError, match="version 3 did not become the champion: a model.promotions was changed by hand; look at"
    ):
        change(ledger, "promote", 3, seen)
    assert numbers(change(ledger, "promote", 3)) == (3,)
    assert aliases(ledger) == {CHAMPION: 3}


def test_a_request_that_was_sent_twice_is_one_entry(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MlflowClient.create_model_version

    def twice(self: MlflowClient, *arguments: object, **more: object) -> object:
        real(self, *arguments, **more)  # type: ignore[arg-type]
        return real(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "create_model_version", twice)
    for version in (1, 2):
        change(ledger, "promote", version)
    assert numbers(ledger.state()) == (1, 2)
    assert len(ledger.entries()) == 2


def test_many_at_once_leave_aliases_that_agree_with_the_record(ledger: Ledger) -> None:
    lost: list[str] = []

    def act(number: int) -> None:
        for _ in range(3):
            state = ledger.state()
            *_, before, _ = (0, 0, *numbers(state))
            wants_rollback = before and number % 2
            try:
                change(ledger, *(("rollback", before) if wants_rollback else ("promote", number)), state)
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
    *_, previous, champion = (0, *numbers(state))
    assert aliases(ledger) == {CHAMPION: champion} | ({PREVIOUS: previous} if previous else {})


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(0, 8)), max_size=8))
def test_replay_follows_one_chain(attempts: list[tuple[bool, int, int]]) -> None:
    entries = [
        Entry(
            n,
            str(n),
            "promote" if is_promotion else "rollback",
            VersionId(version, 0),
            min(after, n - 1),
            "",
            "",
            "",
            False,
            True,
            "",
            False,
        )
        for n, (is_promotion, version, after) in enumerate(attempts, start=1)
    ]
    state, in_force = replay(entries)
    chain = [entry for entry in entries if entry.number in in_force]
    last = [0, *(entry.number for entry in chain)]
    assert all(before <= entry.after for before, entry in zip(last, chain, strict=False))
    assert state.number == last[-1]
    if chain:
        assert state.champion == chain[-1].version
