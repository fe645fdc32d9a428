"""A rollback goes back to the latest earlier champion that still exists."""

from pathlib import Path

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.reviews.promotion import PROMOTED, Promotion
from pipeline.reviews.promotion_history import CHAMPION, PREVIOUS
from tests.registered import MODEL, Registry, aliases, get


@pytest.fixture
def it(registry: Path) -> Registry:
    return Registry(registry)


def test_rollback_goes_back_step_by_step(it: Registry) -> None:
    it.crown(1, 2, 3)
    assert [int(it.decision(f"step {n}").rollback().version) for n in range(2)] == [2, 1]
    assert aliases(it.client) == {CHAMPION: 1}
    assert get(it.client, 1).tags[PROMOTED].endswith(" by jane: step 1")
    with pytest.raises(
        UserError, match=f"^no version of {MODEL} was champion before version 1; run: make review VERSION=3 EXP=other$"
    ):
        it.decision().rollback()


def test_without_an_earlier_champion_a_rollback_is_refused(it: Registry) -> None:
    with pytest.raises(
        UserError, match=f"^no version of {MODEL} has been champion yet; run: make review VERSION=3 EXP=other$"
    ):
        it.decision().rollback()


def test_rollback_skips_deleted_versions(it: Registry) -> None:
    it.crown(1, 2, 3)
    it.client.delete_model_version(MODEL, "2")
    assert int(it.decision().rollback().version) == 1
    assert aliases(it.client) == {CHAMPION: 1}


def test_rollback_leads_away_from_a_champion_that_was_deleted(it: Registry) -> None:
    it.crown(1, 2)
    it.client.delete_model_version(MODEL, "2")
    assert int(it.decision().rollback().version) == 1
    assert aliases(it.client) == {CHAMPION: 1}


def test_rollback_to_a_version_whose_files_changed_needs_force(it: Registry) -> None:
    it.crown(1, 2)
    it.break_code(1)
    with pytest.raises(
        UserError, match=rf"^models:/{MODEL}/1 is not as it was registered: artifacts/code/registry/request\.py"
    ):
        it.decision().rollback()
    assert aliases(it.client) == {CHAMPION: 2, PREVIOUS: 1}
    assert int(it.decision(forced=True).rollback().version) == 1
    assert aliases(it.client) == {CHAMPION: 1}


def test_a_killed_rollback_that_is_typed_again_goes_back_once(it: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    it.crown(1, 2, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Promotion, "_carry_out", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            it.decision("it is slow").rollback()
    assert aliases(it.client) == {CHAMPION: 3, PREVIOUS: 2}
    assert int(it.decision("it is slow").rollback().version) == 2
    assert aliases(it.client) == {CHAMPION: 2, PREVIOUS: 1}
    assert int(it.decision("it is slow").rollback().version) == 1  # all was done: this is another
