"""Promote a version to champion, or roll back to the previous champion.

The checks come first: the version must have passed a review (review_runs.py), and nothing may have changed since. After
that, the decision is appended to the history (promotion_history.py) and the aliases are set. Finally the new champion
must translate.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ..plumbing.errors import UserError
from ..plumbing.params import ReviewSettings
from ..registry.card import write_model_page
from ..registry.packaging import EXAMPLE_FILE
from ..registry.sandbox.sandboxed_model import load_sandboxed
from ..registry.versions import VersionId, fetch, find_again, get_version, identify, make_model, package_digest
from .promotion_history import CHAMPION, Action, ChampionState, HistoryEntry, PromotionHistory, replay
from .registered_models import RegisteredModels
from .review_runs import NO_CHAMPION, RecordedReview, ReviewRuns, files_digest
from .test_sets import read_test_sets
from .version_files import VersionFiles

PROMOTED = "promoted"  # tag for people: when a version last became champion, by whom and why


@dataclass(frozen=True)
class Promotion:
    """A person's decision about the champion: promote a version, or roll back."""

    models: RegisteredModels
    settings: ReviewSettings
    review_runs: ReviewRuns
    by: str
    reason: str
    forced: bool  # overrides every check, but not a decision that another person made first

    @property
    def client(self) -> MlflowClient:
        return self.models.client

    @property
    def production(self) -> str:
        return self.models.production

    @property
    def history(self) -> PromotionHistory:
        return self.models.history

    def promote(self, number: int) -> ModelVersion:
        """Make a candidate the champion. Return its version in production.

        Raise UserError if its review does not allow this, if another decision came first, or if the new champion does
        not answer a request. In the last case the former champion is restored.
        """
        state = self._state()
        candidate = self.models.candidate(number)
        if self.models.is_champion(candidate, state):
            entry, before = self._unfinished(state)
            if entry is None:
                return self._put_back(state)
        else:
            self._check_alias(state)
            if not self.forced:
                self._check(candidate, state)
            chosen = self.models.in_production(candidate) or self._copy(candidate)
            if not self.forced:
                self.models.check_files(chosen)
            if self.production != self.models.candidates:
                self._show_review(candidate, chosen)
            entry, before = self._append("promote", identify(chosen), state), state
        self._carry_out(entry, before)
        try:
            self._ask_champion()
        except Exception as error:  # of any kind: the champion does not answer
            self._take_back(entry, before, error)
        self.history.settle(entry)
        if not self._is_mine(entry):  # another person began this promotion, and it is recorded as theirs
            raise UserError(
                f"version {entry.version} of {self.production} is the champion already: {entry.by} promoted it "
                f"({entry.reason})"
            )
        return self._champion(entry)

    def rollback(self) -> ModelVersion:
        """Go back to the latest earlier champion that still exists. Return its version."""
        state = self._state()
        entry, before = self._unfinished(state)
        # A user who types an interrupted rollback again wants to complete it, and does not want a second step back.
        if entry is None or entry.action != "rollback" or not self._is_mine(entry):
            self._check_alias(state)
            target = self.models.rollback_target(state)
            if target is None:
                raise UserError(self._nothing_before(state))
            if not self.forced:
                self._check_files(target)
            entry, before = self._append("rollback", target, state), state
        self._carry_out(entry, before)
        self.history.settle(entry)
        return self._champion(entry)

    def _is_mine(self, entry: HistoryEntry) -> bool:
        return (entry.by, entry.reason) == (self.by, self.reason)

    def _state(self) -> ChampionState:
        """Return the present state. If the last decision was interrupted, first set the aliases for it."""
        state = self.history.state()
        if not state.settled and self.history.is_certain(state):
            self.history.set_aliases()  # the process that wrote the last entry died before this, or is about to do it
        return state

    def _check_alias(self, state: ChampionState) -> None:
        """Raise UserError if somebody moved the champion's alias by hand. A removed alias is set again later."""
        moved = self.history.moved_by_hand(state)
        if moved and moved[0] and not self.forced:
            raise UserError(str(self.models.told_of_alias(state)))

    def _put_back(self, state: ChampionState) -> ModelVersion:
        """Set the champion's alias again after it was changed by hand. Raise UserError if it was not changed."""
        champion = state.champion
        assert champion
        if not self.history.moved_by_hand(state):
            raise UserError(f"version {champion} of {self.production} is the champion already")
        if not self.forced:
            self._check_files(champion)
        self.history.set_aliases()
        self._ask_champion()
        return get_version(self.client, self.production, champion.number)

    def _nothing_before(self, state: ChampionState) -> str:
        if not state.champion:
            told = f"no version of {self.production} has been champion yet"
        elif self.history.last_existing(state.champions):
            told = f"no version of {self.production} was champion before version {state.champion}"
        else:
            told = f"no earlier champion of {self.production} exists any more"
        return f"{told}; {self.models.first_step(state)}"

    def _check(self, candidate: ModelVersion, state: ChampionState) -> None:
        """Raise UserError unless the candidate passed a review against the champion and nothing has changed since."""
        name = f"version {candidate.version} of {candidate.name}"
        remedy = f"run: make review VERSION={candidate.version}{self.models.option}"
        package_digest(candidate, self.models.experiment)
        champion = self.models.champion(state)
        opponent, shown = (identify(champion).key, str(champion.version)) if champion else (NO_CHAMPION, NO_CHAMPION)
        review_runs = self.review_runs.find(candidate)
        verdict = next((verdict for verdict in review_runs if verdict.opponent == opponent), None)
        if verdict is None and review_runs:
            other = review_runs[0].compared_with
            told = f"another version {other}, which was deleted" if other == shown else _opponent(other)
            now = "no version is the champion now" if shown == NO_CHAMPION else f"version {shown} is the champion now"
            raise UserError(f"{name} was reviewed against {told}, but {now}; {remedy}")
        if verdict is None:
            raise UserError(f"{name} was not reviewed; {remedy}")
        if not verdict.is_pass:
            raise UserError(
                f"{name} did not pass its review against {_opponent(shown)}: {verdict.verdict} (gates: "
                f"{verdict.failed or 'not judged'}; reviewed by {verdict.by}, {verdict.at}); to promote "
                f"it in spite of this: make promote VERSION={candidate.version} REASON=... FORCE=1{self.models.option}"
            )
        with tempfile.TemporaryDirectory() as scratch:
            files = VersionFiles(self.client, candidate, Path(scratch) / "candidate")
            theirs = VersionFiles(self.client, champion, Path(scratch) / "champion") if champion else None
            changed = "files" if files.package and files_digest(candidate) != verdict.files else ""
            if changed := changed or self._changed(verdict, files, theirs):
                raise UserError(f"the {changed} of {name} changed after its review; {remedy}")

    def _changed(self, verdict: RecordedReview, ours: VersionFiles, theirs: VersionFiles | None) -> str:
        """Return the gates or test sets that changed after the review; an empty text if none did."""
        gates = self.settings.gates.model_dump(mode="json")
        if names := sorted(name for name in {*gates, *verdict.gates} if gates.get(name) != verdict.gates.get(name)):
            return f"gates (review.gates: {', '.join(names)})"
        evaluation = theirs.evaluation if theirs else None
        read = read_test_sets(ours.evaluation, evaluation, self.settings, ours.languages)
        test_sets = {test_set.name: test_set.digest for test_set in read}
        known = verdict.test_sets
        names = sorted(name for name in {*test_sets, *known} if test_sets.get(name) != known.get(name))
        return f"test sets ({', '.join(names)})" if names else ""

    def _check_files(self, version: VersionId) -> None:
        """Raise UserError if the files of a version in production have changed since it was registered."""
        self.models.check_files(get_version(self.client, self.production, version.number, self.models.option))
        with tempfile.TemporaryDirectory() as scratch:
            fetch(self.client, self.production, version.number, Path(scratch))

    def _copy(self, candidate: ModelVersion) -> ModelVersion:
        make_model(self.client, self.production, write_model_page(self.production, self.models.option))
        return self.client.create_model_version(  # refers to the same files
            self.production,
            f"models:/{candidate.name}/{candidate.version}",
            candidate.run_id,
            tags=candidate.tags,
            description=candidate.description,
        )

    def _show_review(self, candidate: ModelVersion, copy: ModelVersion) -> None:
        """Copy the result of the candidate's latest review to its copy in production."""
        for verdict in self.review_runs.find(candidate)[:1]:
            self.review_runs.show(verdict, copy)

    def _append(self, action: Action, version: VersionId | None, seen: ChampionState) -> HistoryEntry:
        found = find_again(self.client, self.production, version) if version else None
        files = files_digest(found) if found else ""
        return self.history.append(action, version, seen, self.by, self.reason, self.forced, files)

    def _champion(self, entry: HistoryEntry) -> ModelVersion:
        assert entry.version
        return get_version(self.client, self.production, entry.version.number)

    def _unfinished(self, state: ChampionState) -> tuple[HistoryEntry | None, ChampionState]:
        """Return the last decision and the state before it, if the decision was not carried out completely."""
        entries = [] if state.settled else self.history.entries()
        for entry in entries:
            if entry.number == state.number:
                return entry, replay(entries, entry.number)[0]
        return None, state

    def _carry_out(self, entry: HistoryEntry, before: ChampionState) -> None:
        """Set the aliases, and write into the version's tags when, by whom and why it became the champion."""
        self.history.set_aliases()
        if entry.version and find_again(self.client, self.production, entry.version):
            told = f"{entry.at} by {entry.by}: {entry.reason}"
            self.client.set_model_version_tag(self.production, str(entry.version), PROMOTED, told)

    def _ask_champion(self) -> None:
        """Load the champion by its alias, as users do, and let it translate its example. Raise an error if it fails."""
        uri = f"models:/{self.production}@{CHAMPION}"
        with tempfile.TemporaryDirectory() as scratch:
            try:
                champion = self.models.resolve(CHAMPION)
                if self.forced:
                    package = Path(download_artifacts(uri, dst_path=scratch))
                else:
                    package = fetch(self.client, champion.name, int(champion.version), Path(scratch))
                sentences = json.loads((package / EXAMPLE_FILE).read_bytes())["inputs"]
            except (MlflowException, OSError, ValueError, KeyError) as error:
                raise UserError(f"{uri} cannot be fetched: {str(error).partition(chr(10))[0]}") from error
            with load_sandboxed(package, uri) as model:
                answers, _ = model.translate(sentences)
        if not all(answers):
            raise UserError(f"{uri} translates {sentences!r} as {answers!r}, expected a text for each")

    def _take_back(self, entry: HistoryEntry, before: ChampionState, error: Exception) -> NoReturn:
        """Restore the champion before `entry`, if it still exists. Raise a UserError that gives the reason, `error`."""
        told = str(error) or type(error).__name__
        after = self.history.state()
        if after.number == entry.number:
            last = self.history.last_existing([each for each in before.champions if each != entry.version])
            reason = f"first request failed: {told.splitlines()[0]}"
            back = self.history.append("rollback", last, after, self.by, reason, self.forced)
            self._carry_out(back, after)
            self.history.settle(back)
            now = f"version {last} is the champion again" if last else "there is no champion now"
        else:
            now = "another decision came after it, see make versions"
        raise UserError(
            f"version {entry.version} of {self.production} was promoted but failed its first request; {now}: {told}"
        ) from error


def _opponent(compared_with: str) -> str:
    """Return a description of the opponent in a review."""
    return "the best baseline" if compared_with == NO_CHAMPION else f"version {compared_with}"
