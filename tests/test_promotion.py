"""A version is promoted if its review allows it; every refusal says why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ReviewSettings
from pipeline.registry.versions import PACKAGE_TAG, VERDICT_TAG
from pipeline.reviews.promotion import PROMOTED, Promotion
from pipeline.reviews.promotion_history import CHAMPION, PREVIOUS, HistoryEntry
from pipeline.reviews.review_runs import files_digest
from tests.registered import DEFAULT, FAIL, MODEL, Registry, aliases, evaluate_otherwise, get, package_of, record_files

TEAM = "production"
NAME = f"version 2 of {MODEL}"


@pytest.fixture
def it(registry: Path) -> Registry:
    return Registry(registry)


def refusal(it: Registry, version: int = 2, forced: bool = False, settings: ReviewSettings = DEFAULT) -> str:
    """Return the error with which a promotion is refused. Check that the refusal changed nothing."""
    before = it.history().entries(), aliases(it.client)
    with pytest.raises(UserError) as refused:
        it.decision(forced=forced, settings=settings).promote(version)
    assert (it.history().entries(), aliases(it.client)) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


def shown(entry: HistoryEntry) -> tuple[Any, ...]:
    return entry.action, str(entry.version), entry.by, entry.reason, entry.forced, entry.settled


def test_a_version_that_was_not_reviewed_is_refused(it: Registry) -> None:
    assert refusal(it) == f"{NAME} was not reviewed; run: make review VERSION=2 EXP=other"


def test_tags_alone_do_not_make_a_passed_review(it: Registry) -> None:
    it.client.set_model_version_tag(MODEL, "2", VERDICT_TAG, "pass against baselines")
    assert refusal(it) == f"{NAME} was not reviewed; run: make review VERSION=2 EXP=other"


def test_a_version_that_failed_is_refused_with_the_gates(it: Registry) -> None:
    it.keep(2, None, FAIL)
    told = refusal(it)
    assert told.startswith(
        f"{NAME} did not pass its review against the best baseline: fail (gates: bleu_drop; reviewed by j"
    )
    assert told.endswith("to promote it in spite of this: make promote VERSION=2 REASON=... FORCE=1 EXP=other")


def test_a_review_against_another_champion_does_not_count(it: Registry) -> None:
    it.keep(2, None)
    it.crown(1)
    assert refusal(it) == (
        f"{NAME} was reviewed against the best baseline, but version 1 is the champion now; "
        "run: make review VERSION=2 EXP=other"
    )


def test_files_that_changed_since_they_were_registered_are_refused(it: Registry) -> None:
    it.keep(2, None)
    it.break_code(2)
    assert refusal(it).startswith(
        f"models:/{MODEL}/2 is not as it was registered: artifacts/code/registry/request.py is changed"
    )


def test_files_that_changed_together_with_their_digests_are_refused(it: Registry) -> None:
    it.keep(2, None)
    it.break_code(2)
    record_files(it.build, it.client, 2)
    told = refusal(it)
    assert told == f"the files of {NAME} changed after its review; run: make review VERSION=2 EXP=other"


def test_for_a_deleted_champion_a_rollback_is_named(it: Registry) -> None:
    it.crown(3, 1)
    it.keep(2, 1)
    it.client.delete_model_version(MODEL, "1")
    told = refusal(it)
    assert told.startswith(f"the champion, version 1 of {MODEL}, was deleted, so no version can be compared with it; ")
    assert told.endswith("go back to the previous champion: make rollback REASON=... EXP=other")


def test_where_no_champion_is_left_a_review_against_the_baselines_counts(it: Registry) -> None:
    it.crown(1)
    it.keep(2, 1)
    it.client.delete_model_version(MODEL, "1")
    assert refusal(it).startswith(f"{NAME} was reviewed against version 1, but no version is the champion now; run:")


def test_gates_that_changed_since_the_review_are_refused(it: Registry) -> None:
    it.keep(2, None)
    settings = ReviewSettings.model_validate({"gates": {"size_ratio": {"threshold": 1.5, "required": True}}})
    assert refusal(it, settings=settings) == (
        f"the gates (review.gates: size_ratio) of {NAME} changed after its review; run: make review VERSION=2 EXP=other"
    )


def test_test_sets_that_changed_since_the_review_are_refused(it: Registry, tmp_path: Path) -> None:
    more = tmp_path / "more.tsv"
    more.write_text("en\tde\nnobody wrote this\tNIEMAND\n")
    settings = ReviewSettings.model_validate({"test_sets": {"more": str(more)}})
    it.keep(2, None, settings=settings)
    it.decision(settings=settings).models.champion(it.history().state())
    more.write_text("en\tde\nnobody wrote this\tNIEMAND!\n")
    expected = f"the test sets (more) of {NAME} changed after its review; run: make review VERSION=2 EXP=other"
    assert refusal(it, settings=settings) == refusal(it) == expected
    more.unlink()
    assert "review.test_sets.more: the file" in refusal(it, settings=settings)


def test_a_review_without_the_champion_s_test_sets_does_not_count(it: Registry, versions: Path) -> None:
    it.crown(2)
    it.keep(1, 2)
    evaluate_otherwise(it.client, it.build, versions)
    assert f"the test sets (test of the champion) of version 1 of {MODEL} changed after its review" in refusal(it, 1)


@pytest.mark.parametrize("champions", [(), (1,), (2, 1)])
def test_an_alias_that_was_moved_by_hand_is_refused_with_the_commands_that_help(
    it: Registry, champions: tuple[int, ...]
) -> None:
    it.crown(*champions)
    it.keep(2, champions[-1] if champions else None)
    it.client.set_registered_model_alias(MODEL, CHAMPION, "3")
    told = refusal(it)
    recorded = "the champion is version 1" if champions else "no version was promoted"
    fact, *ways = told.split("; ")
    assert fact == (f"the alias champion of {MODEL} was moved by hand: it is on version 3, but {recorded}")
    puts_back = ["make promote VERSION=1 REASON=... EXP=other puts it back"] if champions else []
    leads = [f"make rollback REASON=... FORCE=1 EXP=other goes back to version {champions[0]}"] if champions else []
    compares = ["make review VERSION=3 EXP=other compares version 3 with the champion"] if champions else []
    assert ways == [
        *puts_back,
        *compares,
        "make promote VERSION=3 REASON=... FORCE=1 EXP=other makes version 3 the champion",
        *leads,
    ]
    with pytest.raises(UserError, match="moved by hand"):
        it.decision().rollback()


@pytest.mark.parametrize("forced", [False, True])
def test_the_champion_is_not_promoted_again(it: Registry, forced: bool) -> None:
    it.crown(1, 2)
    assert refusal(it, forced=forced) == f"version 2 of {MODEL} is the champion already"


def test_a_version_that_does_not_exist_is_refused(it: Registry) -> None:
    it.crown(1)
    assert refusal(it, 9) == f"{MODEL} has no version 9; the last are 1, 2, 3; see: make versions EXP=other"


def test_a_reviewed_version_becomes_the_champion_and_its_tags_say_how(it: Registry) -> None:
    it.crown(1)
    it.keep(2, 1)
    assert int(it.decision("better on long texts").promote(2).version) == 2
    assert aliases(it.client) == {CHAMPION: 2, PREVIOUS: 1}
    entry = it.history().entries()[-1]
    assert shown(entry) == ("promote", "2", "jane", "better on long texts", False, True)
    assert get(it.client, 2).tags[PROMOTED] == f"{entry.at} by jane: better on long texts"


def unreviewed(it: Registry) -> None:
    it.crown(1)


def failed(it: Registry) -> None:
    it.crown(1)
    it.keep(2, 1, FAIL)


def changed(it: Registry) -> None:
    it.crown(1)
    it.keep(2, 1)
    card = package_of(it.build, it.client, 2) / "model_card.md"
    card.write_text(f"{card.read_text()}\n")


def deleted(it: Registry) -> None:
    it.crown(1)
    it.client.delete_model_version(MODEL, "1")


def moved(it: Registry) -> None:
    it.crown(1)
    it.keep(2, 1)
    it.client.set_registered_model_alias(MODEL, CHAMPION, "3")


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [unreviewed, failed, changed, deleted, moved])
def test_force_overrides_every_check_and_is_recorded(it: Registry, spoil: Callable[[Registry], None]) -> None:
    spoil(it)
    refusal(it)
    assert int(it.decision("I know better", forced=True).promote(2).version) == 2
    assert aliases(it.client) == {CHAMPION: 2} | ({} if spoil is deleted else {PREVIOUS: 1})
    assert shown(it.history().entries()[-1]) == ("promote", "2", "jane", "I know better", True, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "expected", "told"),
    [((), {}, "there is no champion now"), ((3, 1), {CHAMPION: 1, PREVIOUS: 3}, "version 1 is the champion again")],
)
def test_if_the_new_champion_fails_its_first_request_the_former_one_is_restored(
    it: Registry, before: tuple[int, ...], expected: dict[str, int], told: str
) -> None:
    it.crown(*before)
    it.break_code(2)
    with pytest.raises(UserError) as refused:
        it.decision(forced=True).promote(2)
    first, *rest = str(refused.value).splitlines()
    assert first.startswith(f"{NAME} was promoted but failed its first request; {told}: models:/{MODEL}@champion")
    assert "RuntimeError: out of order" in rest[-1]
    assert aliases(it.client) == expected
    *_, promotion, rollback = it.history().entries()
    assert (promotion.action, str(promotion.version)) == ("promote", "2")
    back = expected.get(CHAMPION)
    assert (rollback.action, str(rollback.version), rollback.settled) == ("rollback", str(back), True)
    assert rollback.reason.startswith(f"first request failed: models:/{MODEL}@champion does not load and translate")


def fail(self: Promotion) -> None:
    raise ValueError


def test_the_last_former_champion_that_still_exists_is_restored(it: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    it.crown(3, 1)
    it.client.delete_model_version(MODEL, "1")
    monkeypatch.setattr(Promotion, "_ask_champion", fail)
    with pytest.raises(UserError, match="first request; version 3 is the champion again: ValueError"):
        it.decision(forced=True).promote(2)
    assert aliases(it.client) == {CHAMPION: 3}


def test_a_later_decision_is_not_undone(it: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_late(self: Promotion) -> None:
        it.crown(3)
        raise UserError("too slow")

    monkeypatch.setattr(Promotion, "_ask_champion", fail_late)
    with pytest.raises(UserError, match="first request; another decision came after it, see make versions: too slow"):
        it.decision(forced=True).promote(2)
    assert aliases(it.client) == {CHAMPION: 3, PREVIOUS: 2}


def test_an_interrupted_promotion_is_completed_by_the_next_command(it: Registry) -> None:
    it.crown(1)
    it.history().append("promote", it.identity(2), it.history().state(), "ann", "then the power failed", forced=False)
    assert aliases(it.client) == {CHAMPION: 1}
    with pytest.raises(UserError, match="was not reviewed"):
        it.decision().promote(3)
    assert aliases(it.client) == {CHAMPION: 2, PREVIOUS: 1}


def test_aliases_are_not_set_for_an_uncertain_entry(it: Registry) -> None:
    it.crown(1, 2)
    it.history().append("promote", it.identity(3), it.history().state(), "ann", "late", forced=False)
    it.client.set_model_version_tag(it.history().name, "3", "after", "1")  # it saw 1, and died before it knew of 2
    it.client.delete_model_version(it.history().name, "2")
    with pytest.raises(UserError):
        it.decision().promote(1)
    assert aliases(it.client) == {CHAMPION: 2, PREVIOUS: 1}


def test_nothing_is_reviewed_against_the_baselines_while_a_version_has_the_alias(it: Registry) -> None:
    it.client.set_registered_model_alias(MODEL, CHAMPION, "3")
    with pytest.raises(
        UserError, match="it is on version 3, but no version was promoted; .*FORCE=1 EXP=other makes ver"
    ):
        it.models().champion(it.history().state())


def test_a_rollback_does_not_lead_to_the_champion_itself(it: Registry) -> None:
    it.crown(1, 2, 1)
    it.client.delete_model_version(MODEL, "2")
    with pytest.raises(UserError, match=f"no version of {MODEL} was champion before version 1; run: make review"):
        it.decision().rollback()


def test_tags_alone_do_not_make_a_version_the_copy_of_a_candidate(
    it: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Promotion, "_ask_champion", lambda self: None)
    it.keep(2, None, production=TEAM)
    it.client.create_registered_model(TEAM)
    tags = get(it.client, 2).tags | {"copy_of": it.identity(2).key}
    it.client.create_model_version(TEAM, str(get(it.client, 1).source), tags=tags)  # other files
    it.client.create_model_version(TEAM, f"models:/{MODEL}/2", tags=tags | {PACKAGE_TAG: "0" * 64})
    assert int(it.decision(production=TEAM).promote(2).version) == 3
    # A copy that an early pipeline made has no tag that tells so, and is one.
    it.keep(1, 3, production=TEAM)
    assert int(it.decision(production=TEAM).promote(1).version) == 4
    it.keep(2, 4, production=TEAM)
    assert int(it.decision(production=TEAM).promote(2).version) == 3


def test_a_champion_whose_digests_were_edited_since_is_refused(it: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Promotion, "_ask_champion", lambda self: None)
    for version, champion in ((1, None), (2, 1)):
        it.keep(version, champion)
        it.decision().promote(version)
    assert it.history().files(it.identity(1)) == files_digest(get(it.client, 1))
    for version in (1, 2):
        it.break_code(version)
        record_files(it.build, it.client, version)
    told = "the tag package_sha256 of version {} .* was edited after that version became the champion"
    with pytest.raises(UserError, match=told.format(1)):
        it.decision().rollback()
    with pytest.raises(UserError, match=told.format(2)):
        it.models().resolve(CHAMPION)
    it.keep(1, 2)
    assert "was edited after that version became" in refusal(it, 1)
    assert int(it.decision(forced=True).promote(1).version) == 1
    assert it.models().resolve(CHAMPION)  # as whoever forced it has decided


def test_the_files_of_a_champion_are_checked_before_its_first_request(it: Registry) -> None:
    it.crown(1)
    it.break_code(1)
    with pytest.raises(UserError, match="is not as it was registered: artifacts/code/registry/request.py is changed"):
        it.decision()._ask_champion()


def test_an_interrupted_promotion_is_completed_whatever_reason_is_typed(
    it: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Promotion, "_ask_champion", lambda self: asked.append(self.reason))
    it.crown(1)
    it.history().append("promote", it.identity(2), it.history().state(), "ann", "then the power failed", forced=False)
    told = rf"^version 2 of {MODEL} is the champion already: ann promoted it \(then the power failed\)$"
    with pytest.raises(UserError, match=told):
        it.decision("another reason").promote(2)
    assert asked == ["another reason"]
    assert aliases(it.client)[CHAMPION] == 2
    assert it.history().state().settled
    assert " by ann: " in get(it.client, 2).tags[PROMOTED]
    assert refusal(it) == f"version 2 of {MODEL} is the champion already"


@pytest.mark.slow
def test_a_killed_promotion_goes_on_when_it_is_typed_again(it: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    it.crown(1)
    it.break_code(2)
    with monkeypatch.context() as patch:
        patch.setattr(Promotion, "_ask_champion", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            it.decision("a hurry", forced=True).promote(2)
    with pytest.raises(UserError, match=r"failed its first request; version 1 is the champion again"):
        it.decision("another reason", forced=True).promote(2)
    assert aliases(it.client) == {CHAMPION: 1}
    assert [(entry.action, str(entry.version)) for entry in it.history().entries()] == [
        ("promote", "1"),
        ("promote", "2"),
        ("rollback", "1"),
    ]


def test_an_old_copy_does_not_belong_to_a_candidate_that_was_deleted_and_made_again(
    it: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Promotion, "_ask_champion", lambda self: None)
    it.keep(2, None, production=TEAM)
    assert int(it.decision(production=TEAM).promote(2).version) == 1
    models = [str(get(it.client, version).source) for version in (1, 2)]
    it.client.delete_registered_model(MODEL)
    it.client.create_registered_model(MODEL)
    for source in models:
        it.client.create_model_version(MODEL, source)
    assert it.models(TEAM).in_production(get(it.client, 2)) is None
    assert not it.models(TEAM).is_champion(get(it.client, 2), it.history(TEAM).state())
    # Its alias alone is deleted, too: there is no candidate to name, so the way back is a rollback.
    it.client.delete_registered_model_alias(TEAM, CHAMPION)
    told = it.models(TEAM).told_of_alias(it.history(TEAM).state())
    assert told
    assert told.endswith("; make rollback REASON=... EXP=other goes back to version 1")
    assert int(it.decision(production=TEAM).rollback().version) == 1
    assert aliases(it.client, TEAM) == {CHAMPION: 1}


@pytest.mark.slow
def test_promotion_copies_a_version_once_into_the_model_for_production(it: Registry) -> None:
    def decide() -> Promotion:
        return it.decision(production=TEAM)

    it.keep(2, None, production=TEAM)
    assert int(decide().promote(2).version) == 1
    copy = get(it.client, 1, TEAM)
    candidate = get(it.client, 2)
    assert copy.tags[VERDICT_TAG] == "pass against baselines"
    assert copy.tags[PACKAGE_TAG] == candidate.tags[PACKAGE_TAG]
    assert PROMOTED not in candidate.tags
    assert " by jane: " in copy.tags[PROMOTED]
    assert f"models:/{TEAM}@champion" in str(it.client.get_registered_model(TEAM).description)
    assert aliases(it.client, TEAM) == {CHAMPION: 1}
    assert aliases(it.client) == {}
    # A tag that says that it is the champion does not make another version the champion.
    it.client.set_model_version_tag(MODEL, "1", PROMOTED, copy.tags[PROMOTED])
    it.keep(1, 1, production=TEAM)
    assert int(decide().promote(1).version) == 2
    assert get(it.client, 2, TEAM).source == f"models:/{MODEL}/1"
    # The second promotion of a version uses its copy, which then shows its latest review.
    it.keep(2, 2, production=TEAM)
    assert int(decide().promote(2).version) == 1
    assert get(it.client, 1, TEAM).tags[VERDICT_TAG] == "pass against version 2"
    with pytest.raises(UserError, match=f"^version 1 of {TEAM} is the champion already$"):
        decide().promote(2)
    assert int(decide().rollback().version) == 2
    assert aliases(it.client, TEAM) == {CHAMPION: 2, PREVIOUS: 1}
    assert [str(entry.version) for entry in it.history(TEAM).entries()] == ["1", "2", "1", "2"]
