"""Keep the record of who was champion when, and see to it that the aliases say what the record says.

MLflow's aliases have no history and no compare-and-set: of two that move one, the last wins and nobody is told. But the
versions of a registered model are numbered one after another, whoever makes them. So the record is a registered model
of its own, `<model>.promotions`: each attempt to change the champion is a version of it, appended and never changed,
and says which entry was the last in force when its author decided. Read in order, an entry is in force if and only if
no other came between; everybody who reads the record agrees. No lock is needed, and the aliases can be set again.

Versions are recorded by their identity, not by their number. So the record outlives what it tells of: the versions,
the model, its aliases and tags, runs and experiments. If an entry of its own is deleted, the others still count.
"""

import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ..plumbing.errors import UserError
from ..registry.versions import VersionId, all_versions, find_again, find_version, identify, make_model

CHAMPION, PREVIOUS = "champion", "previous"
PATIENCE = 60.0  # seconds: MLflow gives up a version's number when several want it at once
Action = Literal["promote", "rollback"]
PAGE = """\
This is no model to load, but the record of who was champion of `{model}` when, and why. Each version is one decision, \
by `make promote` or `make rollback`, and names its author and reason in its tags. Do not edit or delete it: the alias \
`champion` is set again from it. `make versions` prints it.
"""
SETTLED = "settled"  # tag of an entry of which all that follows was done
LOST = "lost"  # tag of an entry that another was faster than, whatever becomes of the other


@dataclass(frozen=True)
class HistoryEntry:
    """An attempt to change the champion."""

    number: int  # its place in the record
    key: str  # chosen by its author: a request that was sent twice is one entry
    action: Action
    version: VersionId | None  # that is to be the champion; None if there is to be none
    after: int  # the last entry in force that its author saw; 0 for none
    by: str
    at: str  # the author's clock, UTC
    reason: str
    forced: bool
    settled: bool  # whether all that follows from it was done
    files: str  # digest of the version's files at the time, see files_digest; empty where it is not known
    lost: bool  # whether its author found that another was faster


@dataclass(frozen=True)
class ChampionState:
    """What the entries in force come to."""

    number: int  # the last entry in force; 0 for none
    champions: tuple[VersionId, ...]  # the champion last, before it those that a rollback leads to, one after another
    settled: bool  # whether all that follows from that entry was done

    @property
    def champion(self) -> VersionId | None:
        return self.champions[-1] if self.champions else None


def replay(entries: Sequence[HistoryEntry], until: int | None = None) -> tuple[ChampionState, set[int]]:
    """Return the state after `entries`, which are in order, and the numbers of those in force.

    With `until`, return what they were before the entry of this number.
    """
    state, in_force = ChampionState(0, (), True), set()
    seen = {entry.after for entry in entries if entry.after < entry.number}  # were in force, if they are there or not
    for entry in entries:
        if until and entry.number >= until:
            break
        # Its author saw the last entry in force, or one in force after that, which was deleted from the record since.
        if entry.lost or not state.number <= entry.after < entry.number:
            continue
        if any(entry.after < number < entry.number for number in seen):  # the one that was faster was deleted since
            continue
        in_force.add(entry.number)
        kept = list(state.champions)
        if entry.action == "rollback":
            kept = kept[:-1]
            while kept and kept[-1] != entry.version:
                kept.pop()
        if entry.version and entry.version not in kept[-1:]:
            kept.append(entry.version)
        state = ChampionState(entry.number, tuple(kept), entry.settled)
    return state, in_force


@dataclass(frozen=True)
class PromotionHistory:
    """The record of one registered model."""

    client: MlflowClient
    model: str

    @property
    def name(self) -> str:
        return f"{self.model}.promotions"

    def entries(self) -> list[HistoryEntry]:
        """Return all entries in their order."""
        first: dict[str, HistoryEntry] = {}
        for version in all_versions(self.client, self.name):
            if entry := self._entry(version):
                first.setdefault(entry.key, entry)
        return list(first.values())

    def state(self) -> ChampionState:
        return replay(self.entries())[0]

    def append(
        self,
        action: Action,
        version: VersionId | None,
        seen: ChampionState,
        by: str,
        reason: str,
        forced: bool,
        files: str = "",
    ) -> HistoryEntry:
        """Ask for another champion; UserError, naming who was faster, if it is not the one `seen` that is replaced."""
        key = uuid.uuid4().hex
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        tags = {"key": key, "action": action, "after": str(seen.number)}
        tags |= {"version": str(version or 0), "created": str(version.created if version else 0)}
        tags |= {"by": by, "at": at, "reason": reason, "forced": str(forced).lower(), "files": files}
        make_model(self.client, self.name, PAGE.format(model=self.model))
        # Without the reason, which is in a tag: MLflow renders a description as Markdown, and a reason is free text.
        shown = f"{action} to version {version or 'none'}, from version {seen.champion or 'none'}, {at}"
        self._create(f"models:/{self.model}/{version or seen.champion}", tags, shown)
        entries = self.entries()
        _, in_force = replay(entries)
        mine = next((entry for entry in entries if entry.key == key), None)
        if mine is None or mine.number not in in_force:
            if mine:
                self.client.set_model_version_tag(self.name, str(mine.number), LOST, "true")
            faster = next((e for e in entries if e.number in in_force and e.after >= seen.number), None)
            told = f"{self.name} was changed by hand"
            if faster:
                told = f"version {faster.version or 'none'} did a moment before, by {faster.by} ({faster.reason})"
            raise UserError(
                f"version {version} did not become the champion: {told}; look at make versions, and decide again"
            )
        return mine

    def files(self, version: VersionId) -> str:
        """Return the digest of the files with which a version last became the champion; empty if it is not known."""
        entries = self.entries()
        _, in_force = replay(entries)
        found = [e.files for e in entries if e.number in in_force and e.version == version and e.files]
        return found[-1] if found else ""

    def last_existing(self, champions: Sequence[VersionId]) -> VersionId | None:
        """Return the last of them that was not deleted."""
        return next((each for each in reversed(champions) if find_again(self.client, self.model, each)), None)

    def before(self, state: ChampionState) -> VersionId | None:
        """Return the version that a rollback leads to: the last champion before, not deleted, and another than now."""
        return self.last_existing([each for each in state.champions if each != state.champion])

    def set_aliases(self) -> ChampionState:
        """Set the aliases as the record says, and read both again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = self.state()
            before = self.before(state)
            wanted = self._number(state.champions[-1:]), before.number if before else 0
            try:
                self._point(CHAMPION, wanted[0])
                self._point(PREVIOUS, wanted[1])
            except MlflowException as error:
                # Of two that set or remove an alias at the same moment, the database refuses one.
                if error.error_code != "BAD_REQUEST" or time.monotonic() > deadline:
                    raise
            # Whoever sets an alias last reads the record after that: in the end the two agree.
            aliases = self._aliases()
            if self.state().number == state.number and wanted == tuple(aliases.get(a, 0) for a in (CHAMPION, PREVIOUS)):
                break
        return state

    def settle(self, entry: HistoryEntry) -> None:
        """Note that all that follows from an entry was done."""
        self.client.set_model_version_tag(self.name, str(entry.number), SETTLED, "true")

    def is_certain(self, state: ChampionState) -> bool:
        """Return whether no entry is missing that could have come before the last in force, in its place."""
        entry = next((entry for entry in self.entries() if entry.number == state.number), None)
        there = {int(version.version) for version in all_versions(self.client, self.name)}
        return entry is None or there.issuperset(range(entry.after + 1, entry.number))

    def moved_by_hand(self, state: ChampionState) -> tuple[int, int] | None:
        """Return the versions that the champion's alias is on and should be on (0 for none), if somebody has moved it.

        None if it is as the record says, or if somebody who has decided is about to set it.
        """
        if not state.settled:
            return None
        found, recorded = self._aliases().get(CHAMPION, 0), self._number(state.champions[-1:])
        if found == recorded or self.state().number != state.number:  # else somebody has decided in the meantime
            return None
        return found, recorded

    def has_decided_on(self, version: VersionId) -> bool:
        """Return whether a version is the champion by the record. Until the aliases are set, one of before is, too."""
        entries = self.entries()
        state, in_force = replay(entries)
        before = {entry.version for entry in entries if entry.number in in_force}
        return version == state.champion or (not state.settled and version in before)

    def _aliases(self) -> dict[str, int]:
        # Found by a search: of a model that is not there a server with accounts says that one may not read it.
        found = self.client.search_registered_models(f"name = '{self.model}'")
        return {alias: int(version) for alias, version in found[0].aliases.items()} if found else {}

    def _number(self, champions: Sequence[VersionId]) -> int:
        """Return the number of the last of them that was not deleted; 0 if there is none."""
        last = self.last_existing(champions)
        return last.number if last else 0

    def _point(self, alias: str, version: int) -> None:
        if version:
            self.client.set_registered_model_alias(self.model, alias, str(version))
        elif alias in self._aliases():  # to take one away needs more rights than to set one
            self.client.delete_registered_model_alias(self.model, alias)

    def _create(self, source: str, tags: dict[str, str], description: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.create_model_version(self.name, source, tags=tags, description=description)
                return
            except MlflowException as error:
                if any(entry.key == tags["key"] for entry in self.entries()):
                    return  # the answer was lost, the entry was not
                if "creation error" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0, 0.2))

    def _entry(self, version: ModelVersion) -> HistoryEntry | None:
        """Read an entry; None if somebody has edited its tags so that it is none any more."""
        tags = version.tags
        try:
            if tags["action"] not in get_args(Action):
                return None
            return HistoryEntry(
                number=int(version.version),
                key=tags["key"],
                action=cast(Action, tags["action"]),
                version=self._version(version),
                after=int(tags["after"]),
                by=tags["by"],
                at=tags["at"],
                reason=tags["reason"],
                forced=tags["forced"] == "true",
                settled=SETTLED in tags,
                files=tags.get("files", ""),
                lost=LOST in tags,
            )
        except (KeyError, ValueError):
            return None

    def _version(self, entry: ModelVersion) -> VersionId | None:
        """Return the version that an entry names; an early entry has but its number, and another may have that now."""
        number = int(entry.tags["version"])
        if not number:
            return None
        if "created" in entry.tags:
            return VersionId(number, int(entry.tags["created"]))
        found = find_version(self.client, self.model, number)
        is_older = found and int(found.creation_timestamp) <= int(entry.creation_timestamp)
        return identify(found) if found and is_older else VersionId(number, 0)
