"""Owns how a version becomes the champion, and how the one before comes back: what must hold first, what is done then.

Who was champion when is the ledger's (see ledger.py); whether a version may become it was said by a review (see
verdicts.py).
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ..plumbing.errors import UserError
from ..registry.consumer import consume
from ..registry.packaging import EXAMPLE, REQUIREMENTS
from ..registry.versions import all_versions, fetch, find_version, get_version, make_model
from .ledger import CHAMPION, Action, Entry, Ledger, State, replay
from .verdicts import BASELINES, Verdicts, files_digest


@dataclass(frozen=True)
class Promotion:
    """Somebody's decisions on one model. Versions are promoted from `candidates` to `production`, which may be one."""

    client: MlflowClient
    candidates: str
    production: str
    verdicts: Verdicts
    by: str
    reason: str
    option: str  # ` EXP=name` or nothing, for the commands that errors name
    forced: bool  # whatever speaks against it, but another's decision a moment before

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.client, self.production)

    def promote(self, version: int) -> int:
        """Make a version of `candidates` the champion; returns its number in `production`.

        UserError if its review does not allow it, if somebody else's decision came first, or if it does not answer a
        request once it is the champion: then the champion before it is the champion again.
        """
        state = self._state()
        candidate = get_version(self.client, self.candidates, version)
        chosen = self._in_production(candidate)
        if chosen and chosen == state.champion:
            entry, before = self._unfinished("promote", state)
            if entry is None:
                raise UserError(f"version {chosen} of {self.production} is the champion already")
        else:
            if not self.forced:
                self._check(candidate, state)
            if self.production != self.candidates:
                chosen = chosen or self._copy(candidate)
                self._show_review(candidate, chosen)
            entry, before = self._append("promote", chosen, state), state
        self._carry_out(entry, before)
        try:
            self._ask_champion()
        except Exception as error:  # whatever it is, the champion does not answer
            self._take_back(entry, before, error)
        self.ledger.settle(entry)
        return chosen

    def rollback(self) -> int:
        """Make the champion before the champion again, or the one before that if it is deleted; returns its number."""
        state = self._state()
        entry, before_it = self._unfinished("rollback", state)
        if entry:
            self._carry_out(entry, before_it)
            self.ledger.settle(entry)
            return entry.version
        before = self._last_existing(state.champions[:-1])
        if not before:
            raise UserError(f"no version of {self.production} was champion before version {state.champion or 'none'}")
        if not self.forced:
            with tempfile.TemporaryDirectory() as scratch:
                fetch(self.client, self.production, before, Path(scratch))
        entry = self._append("rollback", before, state)
        self._carry_out(entry, state)
        self.ledger.settle(entry)
        return before

    def _state(self) -> State:
        """The state to decide on, with the aliases as it says."""
        state = self.ledger.state()
        if not state.settled:
            self.ledger.set_aliases()  # whoever wrote the last entry died before the aliases were set, or is about to
        elif not self.forced:
            self.ledger.check_aliases(state)
        return state

    def _last_existing(self, champions: Sequence[int]) -> int:
        """The last of them that was not deleted; 0 if there is none."""
        return next((v for v in reversed(champions) if find_version(self.client, self.production, v)), 0)

    def _check(self, candidate: ModelVersion, state: State) -> None:
        """UserError unless the candidate passed a review against the champion, and its files are those reviewed."""
        name = f"version {candidate.version} of {self.candidates}"
        remedy = f"run: make review VERSION={candidate.version}{self.option}"
        if state.champion and not find_version(self.client, self.production, state.champion):
            raise UserError(
                f"the champion, version {state.champion} of {self.production}, was deleted, so nothing can be compared "
                f"with it; run: make rollback REASON=...{self.option}, or repeat with FORCE=1"
            )
        verdicts = self.verdicts.find(candidate)
        champion = str(state.champion or BASELINES)
        verdict = next((verdict for verdict in verdicts if verdict.compared_with == champion), None)
        if verdict is None and verdicts:
            raise UserError(
                f"{name} was reviewed against {verdicts[0].compared_with}, but the champion is {champion}; {remedy}"
            )
        if verdict is None:
            raise UserError(f"{name} was not reviewed; {remedy}")
        if not verdict.is_pass:
            raise UserError(
                f"{name} failed its review against {champion} ({verdict.failed}; by {verdict.by}, {verdict.at}); "
                "if you know better, repeat with FORCE=1 and a reason"
            )
        with tempfile.TemporaryDirectory() as scratch:
            fetch(self.client, candidate.name, int(candidate.version), Path(scratch))
        if files_digest(candidate) != verdict.files:
            raise UserError(f"the files of {name} are not those that were reviewed; {remedy}")

    def _in_production(self, candidate: ModelVersion) -> int:
        """The candidate's number in `production`; 0 where it was not copied there yet."""
        if self.production == self.candidates:
            return int(candidate.version)
        copies = [v for v in all_versions(self.client, self.production) if v.source == _uri(candidate)]
        return int(copies[-1].version) if copies else 0

    def _copy(self, candidate: ModelVersion) -> int:
        make_model(self.client, self.production)
        copy = self.client.create_model_version(  # of the version: its files are the same
            self.production,
            _uri(candidate),
            candidate.run_id,
            tags=candidate.tags,
            description=candidate.description,
        )
        return int(copy.version)

    def _show_review(self, candidate: ModelVersion, copy: int) -> None:
        """Let the copy in `production` tell what the last review of the candidate found."""
        for verdict in self.verdicts.find(candidate)[:1]:
            self.verdicts.show(verdict, get_version(self.client, self.production, copy))

    def _append(self, action: Action, version: int, seen: State) -> Entry:
        return self.ledger.append(action, version, seen, self.by, self.reason, self.forced)

    def _unfinished(self, action: Action, state: State) -> tuple[Entry | None, State]:
        """This very decision, if a process made it and died before all was done, and the state before it.

        Typed again, the command goes on with it: to roll back once more would be one time too many.
        """
        entries = [] if state.settled else self.ledger.entries()
        for entry in entries:
            if entry.number == state.number and (entry.action, entry.by, entry.reason) == (
                action,
                self.by,
                self.reason,
            ):
                return entry, replay([each for each in entries if each.number < entry.number])[0]
        return None, state

    def _carry_out(self, entry: Entry, before: State) -> None:
        """Set the aliases, and let the version tell how it became the champion."""
        self.ledger.set_aliases()
        if entry.version:
            told = {
                "champion_since": entry.at,
                "champion_by": entry.by,
                "champion_after": str(before.champion or "none"),
                "champion_reason": entry.reason,
            }
            for key, value in told.items():
                self.client.set_model_version_tag(self.production, str(entry.version), key, value)

    def _ask_champion(self) -> None:
        """Load the champion by its alias as any consumer would, and ask it for the translations of its example."""
        uri = f"models:/{self.production}@{CHAMPION}"
        with tempfile.TemporaryDirectory() as scratch:
            try:
                requirements, example = (
                    Path(download_artifacts(f"{uri}/{name}", dst_path=scratch)) for name in (REQUIREMENTS, EXAMPLE)
                )
                sentences = json.loads(example.read_bytes())["inputs"]
            except (MlflowException, OSError, ValueError, KeyError) as error:
                raise UserError(f"{uri} cannot be fetched: {str(error).partition(chr(10))[0]}") from error
            with consume(uri, requirements, uri) as consumer:
                answers, _ = consumer.translate(sentences)
        if len(answers) != len(sentences) or not all(isinstance(answer, str) and answer for answer in answers):
            raise UserError(f"{uri} answers {sentences!r} with {answers!r}, expected a text for each")

    def _take_back(self, entry: Entry, before: State, error: Exception) -> NoReturn:
        """Make the champion before `entry` the champion again, if it was not deleted, and tell why."""
        told = str(error) or type(error).__name__
        after = self.ledger.state()
        if after.number == entry.number:
            last = self._last_existing(before.champions)
            reason = f"smoke request failed: {told.splitlines()[0]}"
            back = self.ledger.append("rollback", last, after, self.by, reason, self.forced)
            self._carry_out(back, after)
            self.ledger.settle(back)
            now = f"so version {last} is the champion again" if last else "so there is none now"
        else:
            now = "but another decision came after it, see make versions"
        raise UserError(
            f"version {entry.version} of {self.production} became the champion and failed its first request, "
            f"{now}: {told}"
        ) from error


def _uri(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"
