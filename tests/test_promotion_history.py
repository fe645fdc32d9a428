"""The history of promotions gives one champion, whatever the order of its entries, and the aliases follow it."""

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
from pipeline.reviews.promotion_history import (
    CHAMPION,
    LOST,
    PREVIOUS,
    Action,
    ChampionState,
    HistoryEntry,
    PromotionHistory,
    replay,
)

MODEL = "a model"


@pytest.fixture
def history(build: Path) -> PromotionHistory:
    """The history of a model with nine versions."""
    client = open_store(build)
    client.create_registered_model(MODEL)
    for _ in range(9):
        client.create_model_version(MODEL, str(build / "nothing"))
    return PromotionHistory(client, MODEL)


def identity(history: PromotionHistory, version: int) -> VersionId:
    return identify(history.client.get_model_version(MODEL, str(version)))


def numbers(state: ChampionState) -> tuple[int, ...]:
    return tuple(champion.number for champion in state.champions)


def append(
    history: PromotionHistory, action: Action, version: int, seen: ChampionState, reason: str = "because"
) -> HistoryEntry:
    chosen = identity(history, version) if version else None
    return history.append(action, chosen, seen, "ann", reason, forced=False)


def change(history: PromotionHistory, action: Action, version: int, seen: ChampionState | None = None) -> ChampionState:
    entry = append(history, action, version, seen or history.state())
    history.set_aliases()
    history.settle(entry)
    return history.state()


def aliases(history: PromotionHistory) -> dict[str, int]:
    return {alias: int(v) for alias, v in history.client.get_registered_model(MODEL).aliases.items()}


def test_promotions_and_rollbacks_move_both_aliases(history: PromotionHistory) -> None:
    assert (history.state(), history.entries()) == (ChampionState(0, (), True), [])
    change(history, "promote", 1)
    assert aliases(history) == {CHAMPION: 1}
    assert history.client.get_registered_model(history.name).tags == {"kind": "record, not a model"}
    for version in (2, 3):
        change(history, "promote", version)
    assert aliases(history) == {CHAMPION: 3, PREVIOUS: 2}
    change(history, "rollback", 2)
    assert aliases(history) == {CHAMPION: 2, PREVIOUS: 1}
    assert numbers(change(history, "rollback", 1)) == (1,)
    assert aliases(history) == {CHAMPION: 1}
    assert change(history, "rollback", 0) == ChampionState(6, (), True)
    assert aliases(history) == {}
    told = [
        (e.number, e.action, e.version.number if e.version else 0, e.after, e.by, e.settled) for e in history.entries()
    ]
    assert told == [
        (1, "promote", 1, 0, "ann", True),
        (2, "promote", 2, 1, "ann", True),
        (3, "promote", 3, 2, "ann", True),
        (4, "rollback", 2, 3, "ann", True),
        (5, "rollback", 1, 4, "ann", True),
        (6, "rollback", 0, 5, "ann", True),
    ]


def test_the_description_of_an_entry_begins_with_a_line_of_plain_text(history: PromotionHistory) -> None:
    for version in (1, 2):
        change(history, "promote", version)
    told = str(history.client.get_model_version(history.name, "2").description)
    assert told.startswith("promote to 2, from 1\n\n2")
    assert told.endswith("Z, `ann`: `because`")


def test_of_two_promotions_at_once_the_first_counts_and_the_other_is_refused(history: PromotionHistory) -> None:
    seen = change(history, "promote", 1)
    change(history, "promote", 2, seen)
    with pytest.raises(
        UserError, match=r"version 3 did not become the champion: ann made version 2 the champion first \(because\)"
    ):
        change(history, "promote", 3, seen)
    assert aliases(history) == {CHAMPION: 2, PREVIOUS: 1}
    assert [str(entry.version) for entry in history.entries()] == ["1", "2", "3"]  # the loser is on record too


def test_a_promotion_counts_even_if_its_process_dies_before_the_aliases_are_set(history: PromotionHistory) -> None:
    change(history, "promote", 1)
    append(history, "promote", 2, history.state(), "then the power failed")
    assert aliases(history) == {CHAMPION: 1}
    assert (history.state().number, numbers(history.state()), history.state().settled) == (2, (1, 2), False)
    history.set_aliases()
    assert aliases(history) == {CHAMPION: 2, PREVIOUS: 1}
    assert not history.state().settled  # its author has more to do


def test_an_alias_that_was_moved_by_hand_is_noticed(history: PromotionHistory) -> None:
    state = change(history, "promote", 1)
    assert history.moved_by_hand(state) is None
    history.client.set_registered_model_alias(MODEL, CHAMPION, "7")
    assert history.moved_by_hand(state) == (7, 1)
    assert history.moved_by_hand(replace(state, settled=False)) is None  # somebody is about to set it
    history.client.delete_registered_model_alias(MODEL, CHAMPION)
    assert history.moved_by_hand(state) == (0, 1)
    history.client.delete_model_version(MODEL, "1")
    assert history.moved_by_hand(state) is None  # there is none that it could be on


def test_an_alias_that_another_decision_moved_meanwhile_was_not_moved_by_hand(history: PromotionHistory) -> None:
    change(history, "promote", 1)
    seen = history.state()
    change(history, "promote", 2)
    assert history.moved_by_hand(seen) is None


def test_a_process_that_sets_the_aliases_late_reads_the_history_again(
    history: PromotionHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(history, "promote", 1)
    append(history, "promote", 2, history.state(), "slow")
    late: list[int] = []
    point = PromotionHistory._point

    def after_another(self: PromotionHistory, alias: str, version: int) -> None:
        if not late:
            late.append(version)
            change(history, "promote", 3)
        point(self, alias, version)

    monkeypatch.setattr(PromotionHistory, "_point", after_another)
    history.set_aliases()
    assert late == [2]
    assert aliases(history) == {CHAMPION: 3, PREVIOUS: 2}


def test_an_alias_that_the_database_refuses_is_set_again(
    history: PromotionHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MlflowClient.set_registered_model_alias
    refused: list[str] = []

    def refuse_once(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if not refused:
            refused.append(alias)
            raise MlflowException("UNIQUE constraint failed", error_code=BAD_REQUEST)
        real(self, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", refuse_once)
    change(history, "promote", 1)
    assert (aliases(history), refused) == ({CHAMPION: 1}, [CHAMPION])


def test_the_alias_of_a_deleted_version_goes_to_the_one_before(history: PromotionHistory) -> None:
    for version in (1, 2, 3):
        change(history, "promote", version)
    history.client.delete_model_version(MODEL, "2")
    assert numbers(history.set_aliases()) == (1, 2, 3)
    assert aliases(history) == {CHAMPION: 3, PREVIOUS: 1}


def test_a_champion_is_not_its_own_predecessor(history: PromotionHistory) -> None:
    for version in (1, 2, 1):
        change(history, "promote", version)
    history.client.delete_model_version(MODEL, "2")
    assert history.before(history.set_aliases()) is None
    assert aliases(history) == {CHAMPION: 1}
    change(history, "promote", 3)
    assert numbers(change(history, "rollback", 1)) == (1, 2, 1)
    assert numbers(change(history, "rollback", 1)) == (1,)  # as when its alias was taken away


def test_the_history_outlives_its_model_and_takes_no_other_version_for_the_champion(history: PromotionHistory) -> None:
    for version in (1, 2):
        change(history, "promote", version)
    state = history.state()
    history.client.delete_registered_model(MODEL)
    assert history.state() == state
    history.client.create_registered_model(MODEL)
    for _ in range(2):
        history.client.create_model_version(MODEL, "nothing")
    assert history.last_existing(state.champions) is None
    history.set_aliases()
    assert aliases(history) == {}
    assert numbers(change(history, "promote", 2)) == (1, 2, 2)
    assert history.state().champion == identity(history, 2) != state.champion
    assert aliases(history) == {CHAMPION: 2}


@pytest.mark.parametrize("spoil", ["delete", "key", "version", "action"])
def test_a_deleted_or_edited_entry_leaves_the_others_in_force(history: PromotionHistory, spoil: str) -> None:
    for version in (1, 2, 3):
        change(history, "promote", version)
    if spoil == "delete":
        history.client.delete_model_version(history.name, "2")
    elif spoil == "key":
        history.client.delete_model_version_tag(history.name, "2", spoil)
    else:
        history.client.set_model_version_tag(history.name, "2", spoil, "what?")
    assert numbers(history.state()) == (1, 3)
    assert numbers(change(history, "rollback", 1)) == (1,)
    assert aliases(history) == {CHAMPION: 1}


@pytest.mark.parametrize("is_marked", [True, False])
def test_an_entry_without_effect_stays_so_when_the_one_before_is_deleted(
    history: PromotionHistory, is_marked: bool
) -> None:
    seen = change(history, "promote", 1)
    change(history, "promote", 2, seen)
    with pytest.raises(UserError, match="did not become"):
        change(history, "promote", 3, seen)
    if is_marked:
        history.client.delete_model_version(history.name, "2")
        assert numbers(history.state()) == (1,)
        change(history, "promote", 4)
    else:  # its author died first, but another has seen the faster one in force
        history.client.delete_model_version_tag(history.name, "3", LOST)
        change(history, "promote", 4)
        history.client.delete_model_version(history.name, "2")
    assert numbers(history.state()) == (1, 4)
    assert numbers(replay(history.entries(), 4)[0]) == (1,)
    assert numbers(change(history, "promote", 5)) == (1, 4, 5)


def test_an_entry_is_not_certain_if_a_deleted_one_may_have_come_first(history: PromotionHistory) -> None:
    seen = change(history, "promote", 1)
    append(history, "promote", 2, seen)
    assert history.is_certain(history.state())
    with pytest.raises(UserError, match="did not become"):
        append(history, "promote", 3, seen)
    history.client.delete_model_version_tag(history.name, "3", LOST)
    history.client.delete_model_version(history.name, "2")
    assert not history.is_certain(history.state())


def test_an_entry_of_an_early_pipeline_holds_only_the_number_of_a_version(history: PromotionHistory) -> None:
    for version in (1, 2):
        change(history, "promote", version)
        history.client.delete_model_version_tag(history.name, str(version), "created")
    state = history.state()
    assert state.champions == (identity(history, 1), identity(history, 2))
    assert numbers(change(history, "promote", 3)) == (1, 2, 3)
    history.client.delete_registered_model(MODEL)
    history.client.create_registered_model(MODEL)
    for _ in range(2):
        history.client.create_model_version(MODEL, "nothing")
    assert numbers(history.state()) == (1, 2, 3)
    assert history.last_existing(history.state().champions) is None  # these are others, made after the decision


def test_a_deleted_history_begins_again(history: PromotionHistory) -> None:
    for version in (1, 2):
        change(history, "promote", version)
    seen = history.state()
    history.client.delete_registered_model(history.name)
    assert history.moved_by_hand(history.state()) == (2, 0)
    with pytest.raises(
        UserError, match="version 3 did not become the champion: a model.promotions was changed by hand; look at"
    ):
        change(history, "promote", 3, seen)
    assert numbers(change(history, "promote", 3)) == (3,)
    assert aliases(history) == {CHAMPION: 3}


def test_a_request_that_was_sent_twice_is_one_entry(history: PromotionHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MlflowClient.create_model_version

    def twice(self: MlflowClient, *arguments: object, **more: object) -> object:
        real(self, *arguments, **more)  # type: ignore[arg-type]
        return real(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "create_model_version", twice)
    for version in (1, 2):
        change(history, "promote", version)
    assert numbers(history.state()) == (1, 2)
    assert len(history.entries()) == 2


def test_many_processes_at_once_leave_aliases_that_agree_with_the_history(history: PromotionHistory) -> None:
    lost: list[str] = []

    def act(number: int) -> None:
        for _ in range(3):
            state = history.state()
            *_, before, _ = (0, 0, *numbers(state))
            wants_rollback = before and number % 2
            try:
                change(history, *(("rollback", before) if wants_rollback else ("promote", number)), state)
            except UserError as error:
                lost.append(str(error))

    threads = [threading.Thread(target=act, args=[number]) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = history.entries()
    state, in_force = replay(entries)
    assert len(entries) == 18
    assert len(in_force) == 18 - len(lost)
    *_, previous, champion = (0, *numbers(state))
    assert aliases(history) == {CHAMPION: champion} | ({PREVIOUS: previous} if previous else {})


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(0, 8)), max_size=8))
def test_replay_follows_one_chain(attempts: list[tuple[bool, int, int]]) -> None:
    entries = [
        HistoryEntry(
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
