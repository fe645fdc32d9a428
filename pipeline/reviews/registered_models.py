"""Find the versions of a review or a promotion in the registry: the candidate that the user named, and the champion.

Each error message names commands that solve the problem. They can be typed exactly as they are written.
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
    """The registered models of an experiment: one with its candidates, one with the champion. Both may be the same."""

    client: MlflowClient
    candidates: str
    production: str
    experiment: str

    @property
    def option(self) -> str:
        """Return ` EXP=name` for the commands in messages; an empty string for the default experiment."""
        return experiment_option(self.experiment)

    @property
    def history(self) -> PromotionHistory:
        return PromotionHistory(self.client, self.production)

    def candidate(self, number: int | None) -> ModelVersion:
        """Return the candidate with this number, from any experiment; for None, the newest of this experiment."""
        if number:
            return get_version(self.client, self.candidates, number, self.option)
        known = all_versions(self.client, self.candidates)
        ours = [version for version in known if version.tags.get(EXPERIMENT) == self.experiment]
        if ours:
            return ours[-1]
        told = f"{self.candidates} has no version of the experiment {self.experiment}; run: make register{self.option}"
        if known:
            newest = f"version {known[-1].version} (experiment {experiment_of(known[-1])})"
            told += f"; or review {newest}: make review VERSION={known[-1].version}{self.option}"
        raise UserError(told)

    def champion(self, state: ChampionState) -> ModelVersion | None:
        """Return the champion according to the promotion history; None if no version that was champion exists.

        Raise UserError if the champion was deleted but an earlier one exists, or if it lacks tags of its registration.
        Also raise it if the alias is on a version that never became the champion. Users get that version, so the error
        must not be ignored.
        """
        champion = find_again(self.client, self.production, state.champion) if state.champion else None
        if champion is None and self.history.last_existing(state.champions):
            raise UserError(
                f"the champion, version {state.champion} of {self.production}, was deleted, so no version can be "
                f"compared with it; go back to the previous champion: make rollback REASON=...{self.option}"
            )
        if champion is None and (by_hand := self.told_of_alias(state)):
            raise UserError(f"{by_hand}; until then no version can be compared with the champion")
        if champion and PACKAGE_TAG not in champion.tags:
            command = register_command(champion, self.experiment)
            again = "" if self.production != self.candidates else f"register it again: {command}; or "
            raise UserError(
                f"the champion, version {champion.version} of {champion.name}, has no tag {PACKAGE_TAG}: it was not "
                f"registered by the present version of this pipeline, so no version can be compared with it; {again}"
                f"promote another: make promote VERSION=n REASON=... FORCE=1{self.option}"
            )
        return champion

    def resolve(self, alias: str) -> ModelVersion:
        """Return the version in production that has this alias. Raise UserError if none has it."""
        # A search is used because, for a missing model, a server with accounts answers only that it may not be read.
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
        """Raise UserError if a version's tag names other files than those with which it became the champion."""
        recorded = self.history.files(identify(version))
        if recorded and recorded != package_digest(version, self.experiment):
            raise UserError(
                f"the tag {PACKAGE_TAG} of version {version.version} of {version.name} was edited after that version "
                f"became the champion, so its files may have changed: find out who edited it, or promote another "
                f"version: make promote VERSION=n REASON=... FORCE=1{self.option}"
            )

    def in_production(self, candidate: ModelVersion) -> ModelVersion | None:
        """Return the candidate's version in production; None if the candidate was not copied there yet."""
        if self.production == self.candidates:
            return candidate
        copies = [v for v in all_versions(self.client, self.production) if _is_copy(v, candidate)]
        return copies[-1] if copies else None

    def told_of_alias(self, state: ChampionState) -> str | None:
        """Return a line that says how the champion's alias was changed by hand, and what to do. Return None if not."""
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
                ways.append(f"make review VERSION={number}{self.option} compares version {found} with the champion")
            ways.append(
                f"make promote VERSION={number} REASON=...{force}{self.option} makes version {found} the champion"
            )
        if (target := self.rollback_target(state)) and target.number != found:
            ways.append(f"make rollback REASON=...{force}{self.option} goes back to version {target}")
        if not ways:
            ways.append(f"make promote VERSION=n REASON=...{force}{self.option} makes another version the champion")
        return (
            f"the alias {CHAMPION} of {self.production} was {'moved' if found else 'removed'} by hand: it is on "
            f"{f'version {found}' if found else 'no version'}, but {self._recorded_champion(state)}; "
            f"{'; '.join(ways)}"
        )

    def told_of_doubt(self, version: ModelVersion) -> str | None:
        """Return a line that says what to do about a version that has the champion's alias but was never promoted.

        Return None for any other version.
        """
        if self.history.has_decided_on(identify(version)):
            return None
        return self.told_of_alias(self.history.state()) or (
            f"version {version.version} of {version.name} has the alias {CHAMPION}, but was not promoted; "
            f"see: make versions{self.option}, then try again"
        )

    def rollback_target(self, state: ChampionState) -> VersionId | None:
        """Return the latest earlier champion that still exists.

        If there is none, return the champion itself if somebody removed its alias, because a rollback sets it again.
        """
        return self.history.before(state) or (
            self.history.last_existing(state.champions) if self.history.moved_by_hand(state) else None
        )

    def first_step(self, state: ChampionState) -> str:
        """Return the first command that leads to another champion, or a reason why there is no such command."""
        known = all_versions(self.client, self.candidates)
        others = [version for version in known if not self.is_champion(version, state)]
        if others:
            return f"run: make review VERSION={others[-1].version}{self.option}"
        if not known:
            return f"{self.candidates} has no version; run: make register{self.option}"
        return f"{self.candidates} has no other version to review"

    def is_champion(self, candidate: ModelVersion, state: ChampionState) -> bool:
        """Return whether the candidate, or its copy in production, is the champion according to the history."""
        chosen = self.in_production(candidate)
        return chosen is not None and identify(chosen) == state.champion

    def _recorded_champion(self, state: ChampionState) -> str:
        if not state.champion:
            return "no version was promoted"
        is_there = find_again(self.client, self.production, state.champion)
        return f"the champion is version {state.champion}{'' if is_there else ', which was deleted'}"

    def candidate_of(self, version: ModelVersion) -> ModelVersion | None:
        """Return the candidate that a version in production is, or is a copy of; None if it does not exist."""
        if version.name == self.candidates:
            return version
        found = [each for each in all_versions(self.client, self.candidates) if _is_copy(version, each)]
        return found[0] if found else None

    def _candidate_number(self, number: int) -> int:
        """Return the number of the candidate that version `number` in production is or is a copy of; 0 if none."""
        version = find_version(self.client, self.production, number) if number else None
        candidate = self.candidate_of(version) if version else None
        return int(candidate.version) if candidate else 0

    def _is_unreviewed(self, number: int) -> bool:
        version = find_version(self.client, self.production, number)
        return version is not None and not version.tags.get(VERDICT_TAG, "").startswith("pass")


def _is_copy(version: ModelVersion, candidate: ModelVersion) -> bool:
    """Return whether a version in production is a copy of a candidate.

    The source and the times of creation decide this, which nobody can edit. The digests of the packages must be equal,
    too. A copy that is older than the candidate was made from another candidate, which had the same number and was
    deleted.
    """
    return (
        version.source == f"models:/{candidate.name}/{candidate.version}"
        and int(version.creation_timestamp) >= int(candidate.creation_timestamp)
        and version.tags.get(PACKAGE_TAG) == candidate.tags.get(PACKAGE_TAG)
    )


def experiment_of(version: ModelVersion) -> str:
    """Return the name of the experiment that made a version."""
    return version.tags.get(EXPERIMENT, "(unknown)")


def version_name(version: ModelVersion) -> str:
    """Return `version 2 of translator-en-de (experiment default)`."""
    return f"version {version.version} of {version.name} (experiment {experiment_of(version)})"
