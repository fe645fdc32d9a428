"""Find the versions that a review or a decision is about: the candidate that its user named, and the champion.

A message names the commands that lead out of the state that it tells of; each works as it is written there.
"""

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ..plumbing.artifacts import experiment_option
from ..plumbing.errors import UserError
from ..registry.versions import (
    EXPERIMENT,
    PACKAGE_TAG,
    VERDICT_TAG,
    VersionId,
    all_versions,
    find_again,
    find_version,
    get_version,
    identify,
    package_digest,
    register_command,
)
from .promotion_history import CHAMPION, ChampionState, PromotionHistory


@dataclass(frozen=True)
class RegisteredModels:
    """The registered models of an experiment: its versions are candidates in one, the other, which may be the same,
    has the champion."""

    client: MlflowClient
    candidates: str
    production: str
    experiment: str

    @property
    def option(self) -> str:
        """` EXP=name` or nothing, for the commands that messages name."""
        return experiment_option(self.experiment)

    @property
    def history(self) -> PromotionHistory:
        return PromotionHistory(self.client, self.production)

    def candidate(self, number: int | None) -> ModelVersion:
        """Return the candidate of this number, of whatever experiment; without one, this experiment's newest."""
        if number:
            return get_version(self.client, self.candidates, number, self.option)
        known = all_versions(self.client, self.candidates)
        ours = [version for version in known if version.tags.get(EXPERIMENT) == self.experiment]
        if ours:
            return ours[-1]
        told = f"{self.candidates} has no version of the experiment {self.experiment}; run: make register{self.option}"
        if known:
            newest = f"version {known[-1].version}, of the experiment {experiment_of(known[-1])}"
            told += f"; for {newest}: make review VERSION={known[-1].version}{self.option}"
        raise UserError(told)

    def champion(self, state: ChampionState) -> ModelVersion | None:
        """Return the champion by the record; None if there is none, or none of those that were champion is left.

        UserError if it was deleted and there is one to go back to, if it lacks tags that registration gave it, or if
        its alias is on a version all the same: that one is served, and may not be passed over.
        """
        champion = find_again(self.client, self.production, state.champion) if state.champion else None
        if champion is None and self.history.last_existing(state.champions):
            raise UserError(
                f"the champion, version {state.champion} of {self.production}, was deleted, so nothing can be compared "
                f"with it; run: make rollback REASON=...{self.option}"
            )
        if champion is None and (by_hand := self.told_of_alias(state)):
            raise UserError(f"{by_hand}; until then nothing can be compared with it")
        if champion and PACKAGE_TAG not in champion.tags:
            command = register_command(champion, self.experiment)
            again = "" if self.production != self.candidates else f"register it again: {command}; or "
            raise UserError(
                f"the champion, version {champion.version} of {champion.name}, was registered by an earlier version "
                f"of this pipeline, or not by it: it has no tag {PACKAGE_TAG}, so nothing can be compared with it; "
                f"{again}make another the champion: make promote VERSION=n REASON=... FORCE=1{self.option}"
            )
        return champion

    def resolve(self, alias: str) -> ModelVersion:
        """Return the version in production that an alias is on; UserError if it is on none."""
        # Found by a search: of a model that is not there a server with accounts says that one may not read it.
        found = self.client.search_registered_models(f"name = '{self.production}'")
        aliases = found[0].aliases if found else {}
        if alias in aliases:
            version = get_version(self.client, self.production, int(aliases[alias]), self.option)
            self.check_files(version)
            return version
        state = self.history.state()
        if alias == CHAMPION and (by_hand := self.told_of_alias(state)):
            raise UserError(by_hand)
        known = ", ".join(f"{each} (version {version})" for each, version in sorted(aliases.items())) or "none"
        raise UserError(
            f"no version of {self.production} has the alias {alias!r}; aliases: {known}; {self.first_step(state)}"
        )

    def check_files(self, version: ModelVersion) -> None:
        """UserError if a version's tag does not have the files with which the record says that it became champion."""
        recorded = self.history.files(identify(version))
        if recorded and recorded != package_digest(version, self.experiment):
            raise UserError(
                f"the tag {PACKAGE_TAG} of version {version.version} of {version.name} is not as it was when that "
                f"became the champion, so its files may be others: find out who edited it; make another the champion: "
                f"make promote VERSION=n REASON=... FORCE=1{self.option}"
            )

    def in_production(self, candidate: ModelVersion) -> ModelVersion | None:
        """Return the candidate's version in production; None if it was not copied there yet."""
        if self.production == self.candidates:
            return candidate
        copies = [v for v in all_versions(self.client, self.production) if _is_copy(v, candidate)]
        return copies[-1] if copies else None

    def told_of_alias(self, state: ChampionState) -> str | None:
        """Return a line that tells that the champion's alias was moved or removed by hand, and what to do; or None."""
        moved = self.history.moved_by_hand(state)
        if moved is None:
            return None
        found, recorded = moved
        force = " FORCE=1" if found else ""
        ways = []
        if number := self._candidate_number(recorded):
            ways.append(f"make promote VERSION={number} REASON=...{self.option} puts it back")
        if number := self._candidate_number(found):
            if self._is_unreviewed(found) and state.champion and state.champion.number == recorded:
                ways.append(f"make review VERSION={number}{self.option} compares that first")
            ways.append(f"make promote VERSION={number} REASON=...{force}{self.option} records version {found}")
        if (target := self.rollback_target(state)) and target.number != found:
            ways.append(f"make rollback REASON=...{force}{self.option} leads to version {target}")
        if not ways:
            ways.append(f"make promote VERSION=n REASON=...{force}{self.option} makes another version the champion")
        return (
            f"the alias {CHAMPION} of {self.production} was {'moved' if found else 'removed'} by hand: it is on "
            f"{f'version {found}' if found else 'no version'}, the record has {self._shown_champion(state)}; "
            f"{'; '.join(ways)}"
        )

    def told_of_doubt(self, version: ModelVersion) -> str | None:
        """Return a line that tells that the version that the champion's alias is on was not made the champion, and
        what to do; None if it was."""
        if self.history.has_decided_on(identify(version)):
            return None
        return self.told_of_alias(self.history.state()) or (
            f"version {version.version} of {version.name} has the alias {CHAMPION}, but is not the champion by the "
            f"record; see: make versions{self.option}, and try again"
        )

    def rollback_target(self, state: ChampionState) -> VersionId | None:
        """Return the last of those that were champion before and still exist.

        Where there is none it is the champion itself, if its alias was taken away from it.
        """
        return self.history.before(state) or (
            self.history.last_existing(state.champions) if self.history.moved_by_hand(state) else None
        )

    def first_step(self, state: ChampionState) -> str:
        """Return what begins to make another version the champion: a command, where there is one to name."""
        known = all_versions(self.client, self.candidates)
        others = [version for version in known if not self.is_champion(version, state)]
        if others:
            return f"run: make review VERSION={others[-1].version}{self.option}"
        if not known:
            return f"{self.candidates} has no version; run: make register{self.option}"
        return f"{self.candidates} has no other version to review"

    def is_champion(self, candidate: ModelVersion, state: ChampionState) -> bool:
        """Return whether the candidate, or its copy in production, is the champion by the record."""
        chosen = self.in_production(candidate)
        return chosen is not None and identify(chosen) == state.champion

    def _shown_champion(self, state: ChampionState) -> str:
        if not state.champion:
            return "none"
        is_there = find_again(self.client, self.production, state.champion)
        return f"version {state.champion}{'' if is_there else ', which was deleted'}"

    def candidate_of(self, version: ModelVersion) -> ModelVersion | None:
        """Return the candidate that became this version in production, or is it; None if it is not there."""
        if version.name == self.candidates:
            return version
        found = [each for each in all_versions(self.client, self.candidates) if _is_copy(version, each)]
        return found[0] if found else None

    def _candidate_number(self, number: int) -> int:
        """Return the number of the candidate that became this version in production; 0 if there is none."""
        version = find_version(self.client, self.production, number) if number else None
        candidate = self.candidate_of(version) if version else None
        return int(candidate.version) if candidate else 0

    def _is_unreviewed(self, number: int) -> bool:
        version = find_version(self.client, self.production, number)
        return version is not None and not version.tags.get(VERDICT_TAG, "").startswith("pass")


def _is_copy(version: ModelVersion, candidate: ModelVersion) -> bool:
    """Return whether a version in production was made of a candidate, by what nobody can edit, and has its files.

    An older one was made of another candidate, which had this number before.
    """
    return (
        version.source == f"models:/{candidate.name}/{candidate.version}"
        and int(version.creation_timestamp) >= int(candidate.creation_timestamp)
        and version.tags.get(PACKAGE_TAG) == candidate.tags.get(PACKAGE_TAG)
    )


def experiment_of(version: ModelVersion) -> str:
    """Return the name of the experiment that made a version."""
    return version.tags.get(EXPERIMENT, "(unknown)")


def describe(version: ModelVersion) -> str:
    """Return a version's number, model and experiment in words."""
    return f"version {version.version} of {version.name}, of the experiment {experiment_of(version)},"
