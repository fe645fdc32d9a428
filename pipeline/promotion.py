"""Owns how a version becomes the champion, and how the one before comes back: what must hold first, what is done then.

Who was champion when is the ledger's (see ledger.py); whether a version may become it was said by a review (see
verdicts.py).
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from .consumer import consume
from .errors import UserError
from .ledger import CHAMPION, Entry, Ledger, State
from .packaging import EXAMPLE, REQUIREMENTS
from .verdicts import BASELINES, Verdicts, files_digest
from .versions import IDENTITY, all_versions, fetch, find_version, get_version, make_model


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
        if not self.forced:
            self._check(candidate, state)
        chosen = self._in_production(candidate)
        if chosen == state.champion:
            raise UserError(f"version {chosen} of {self.production} is the champion already")
        entry = self.ledger.append("promote", chosen, state, self.by, self.reason, self.forced)
        self._settle(entry, state)
        try:
            self._ask_champion()
        except UserError as error:
            self._take_back(entry, state, error)
        return chosen

    def rollback(self) -> int:
        """Make the champion before the champion again, or the one before that if it is deleted; returns its number."""
        state = self._state()
        before = [v for v in reversed(state.champions[:-1]) if find_version(self.client, self.production, v)]
        if not before:
            raise UserError(f"no version of {self.production} was champion before version {state.champion or 'none'}")
        if not self.forced:
            with tempfile.TemporaryDirectory() as scratch:
                fetch(self.client, self.production, before[0], Path(scratch))
        entry = self.ledger.append("rollback", before[0], state, self.by, self.reason, self.forced)
        self._settle(entry, state)
        return before[0]

    def _state(self) -> State:
        """The state to decide on, with the aliases as it says."""
        state = self.ledger.state()
        if not state.settled:
            self.ledger.settle()  # whoever wrote the last entry died before the aliases were set, or is about to
        elif not self.forced:
            self.ledger.check_aliases(state)
        return state

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
        """The candidate's number in `production`, where it is copied to unless it is there already."""
        if self.production == self.candidates:
            return int(candidate.version)
        for version in reversed(all_versions(self.client, self.production)):
            if version.tags.get(IDENTITY) == candidate.tags[IDENTITY]:
                return int(version.version)
        make_model(self.client, self.production)
        copy = self.client.create_model_version(
            self.production,
            f"models:/{candidate.name}/{candidate.version}",  # the same files, not copies of them
            candidate.run_id,
            tags=candidate.tags,
            description=candidate.description,
        )
        for verdict in self.verdicts.find(candidate)[:1]:
            self.verdicts.show(verdict, copy)
        return int(copy.version)

    def _settle(self, entry: Entry, before: State) -> None:
        """Set the aliases, and let the version tell how it became the champion."""
        self.ledger.settle()
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
            with consume(uri, requirements) as consumer:
                answers, _ = consumer.translate(sentences)
        if len(answers) != len(sentences) or not all(isinstance(answer, str) and answer for answer in answers):
            raise UserError(f"{uri} answers {sentences!r} with {answers!r}, expected a text for each")

    def _take_back(self, entry: Entry, before: State, error: UserError) -> None:
        """Make the champion before `entry` the champion again, and tell why."""
        reason = f"smoke request failed: {str(error).splitlines()[0]}"
        after = self.ledger.state()
        if after.number == entry.number:
            back = self.ledger.append("rollback", before.champion, after, self.by, reason, self.forced)
            self._settle(back, after)
        raise UserError(
            f"version {entry.version} of {self.production} became the champion and failed its first request, so "
            f"{f'version {before.champion} is the champion again' if before.champion else 'there is none now'}: {error}"
        ) from error
