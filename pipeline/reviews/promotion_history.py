"""Keep the history of promotions and rollbacks, and set the aliases `champion` and `previous` to match it.

MLflow's aliases have no history and no compare-and-set. If two people move an alias, the last one wins, and the other
does not learn of it. But MLflow numbers the versions of a registered model in order, whoever creates them. So the
history is a registered model of its own, `<model>.promotions`. Each attempt to change the champion is a version of this
model, called an entry. An entry is never changed. It names the last entry in force that its author saw.

An entry is in force if no other entry came between it and the entry that it names. Everybody who reads the entries in
order gets the same result. No lock is needed, and the aliases can be set again at any time.

An entry names a version by number and time of creation. So the history stays true when versions, models, aliases, tags,
runs or experiments are deleted. If an entry itself is deleted, the others still count.
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
from ..registry.card import code_span
from ..registry.versions import VersionId, all_versions, find_again, find_version, identify, make_model

CHAMPION, PREVIOUS = "champion", "previous"
PATIENCE = 60.0  # seconds of trying again: MLflow fails if several processes create a version at once
Action = Literal["promote", "rollback"]
PAGE = """\
This is not a model to load. It is the record of the promotions and rollbacks of `{model}`. Each version records one, \
with its author and reason in its tags. `make versions` prints the record. Do not edit or delete it: the alias \
`champion` is set from it.
"""
SETTLED = "settled"  # tag of an entry that was carried out completely
LOST = "lost"  # tag of an entry without effect, because another came first; it stays if the other is deleted later


@dataclass(frozen=True)
class HistoryEntry:
    """An attempt to change the champion."""

    number: int  # its place in the history
    key: str  # chosen by its author, so that an entry whose request was sent twice counts once
    action: Action
    version: VersionId | None  # the new champion; None for no champion
    after: int  # number of the last entry in force that its author saw; 0 for none
    by: str
    at: str  # the author's clock, UTC
    reason: str
    forced: bool
    settled: bool  # whether it was carried out completely
    files: str  # digest of the version's files at that time (see files_digest); empty if not known
    lost: bool  # whether its author found that another came first


@dataclass(frozen=True)
class ChampionState:
    """The champion after some entries, and the champions before it."""

    number: int  # of the last entry in force; 0 for none
    champions: tuple[VersionId, ...]  # the champion is the last; rollbacks lead to the others, backwards
    settled: bool  # whether the last entry in force was carried out completely

    @property
    def champion(self) -> VersionId | None:
        """Return the present champion; None if there is none."""
        return self.champions[-1] if self.champions else None


def replay(entries: Sequence[HistoryEntry], until: int | None = None) -> tuple[ChampionState, set[int]]:
    """Return the state after `entries`, given in order, and the numbers of those that are in force.

    With `until`, stop before the entry with this number.
    """
    state, in_force = ChampionState(0, (), True), set()
    seen = {entry.after for entry in entries if entry.after < entry.number}  # in force, even if deleted since then
    for entry in entries:
        if until and entry.number >= until:
            break
        # It is in force if its author saw the last entry in force, or a later one in force that was deleted since.
        if entry.lost or not state.number <= entry.after < entry.number:
            continue
        if any(
            entry.after < number < entry.number for number in seen
        ):  # another entry came first, and has been deleted since
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
    """The history of one registered model."""

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
        """Return the state after all entries."""
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
        """Append an entry. Raise UserError, naming the other author, if the state is no longer `seen`."""
        key = uuid.uuid4().hex
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        tags = {"key": key, "action": action, "after": str(seen.number)}
        tags |= {"version": str(version or 0), "created": str(version.created if version else 0)}
        tags |= {"by": by, "at": at, "reason": reason, "forced": str(forced).lower(), "files": files}
        # The first line is plain text, because MLflow's tables do not render Markdown.
        what = f"{action} to {version or 'none'}, from {seen.champion or 'none'}"
        shown = f"{what}\n\n{at}, {code_span(by)}: {code_span(reason)}"
        make_model(self.client, self.name, PAGE.format(model=self.model), kind="record, not a model")
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
                told = f"{faster.by} made version {faster.version or 'none'} the champion first ({faster.reason})"
            raise UserError(
                f"version {version} did not become the champion: {told}; look at make versions and decide again"
            )
        return mine

    def files(self, version: VersionId) -> str:
        """Return the digest of a version's files when it last became the champion; empty if not known."""
        entries = self.entries()
        _, in_force = replay(entries)
        found = [e.files for e in entries if e.number in in_force and e.version == version and e.files]
        return found[-1] if found else ""

    def last_existing(self, champions: Sequence[VersionId]) -> VersionId | None:
        """Return the last of these versions that still exists; None if none does."""
        return next((each for each in reversed(champions) if find_again(self.client, self.model, each)), None)

    def before(self, state: ChampionState) -> VersionId | None:
        """Return the version that a rollback restores: the last earlier champion that still exists."""
        return self.last_existing([each for each in state.champions if each != state.champion])

    def set_aliases(self) -> ChampionState:
        """Set the aliases to match the history, and repeat this until they agree. Return the state."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = self.state()
            before = self.before(state)
            wanted = self._number(state.champions[-1:]), before.number if before else 0
            try:
                self._point(CHAMPION, wanted[0])
                self._point(PREVIOUS, wanted[1])
            except MlflowException as error:
                # If two processes change an alias at the same moment, the database refuses one of them.
                if error.error_code != "BAD_REQUEST" or time.monotonic() > deadline:
                    raise
            # The process that is last to set an alias then reads the history. So in the end both agree.
            aliases = self._aliases()
            if self.state().number == state.number and wanted == tuple(aliases.get(a, 0) for a in (CHAMPION, PREVIOUS)):
                break
        return state

    def settle(self, entry: HistoryEntry) -> None:
        """Mark an entry as carried out completely."""
        self.client.set_model_version_tag(self.name, str(entry.number), SETTLED, "true")

    def is_certain(self, state: ChampionState) -> bool:
        """Return whether the last entry in force is certain: no entry between it and the one it names was deleted."""
        entry = next((entry for entry in self.entries() if entry.number == state.number), None)
        there = {int(version.version) for version in all_versions(self.client, self.name)}
        return entry is None or there.issuperset(range(entry.after + 1, entry.number))

    def moved_by_hand(self, state: ChampionState) -> tuple[int, int] | None:
        """Return the version that the champion's alias is on, and the version that it should be on; 0 for none.

        Return None if nobody changed the alias by hand: it is right, or a process that promotes is about to set it.
        """
        if not state.settled:
            return None
        found, recorded = self._aliases().get(CHAMPION, 0), self._number(state.champions[-1:])
        if found == recorded or self.state().number != state.number:  # or the champion changed meanwhile
            return None
        return found, recorded

    def has_decided_on(self, version: VersionId) -> bool:
        """Return whether a version is the champion or, while the last decision is not settled, an earlier champion."""
        entries = self.entries()
        state, in_force = replay(entries)
        before = {entry.version for entry in entries if entry.number in in_force}
        return version == state.champion or (not state.settled and version in before)

    def _aliases(self) -> dict[str, int]:
        # A search is used because, for a missing model, a server with accounts answers only that it may not be read.
        found = self.client.search_registered_models(f"name = '{self.model}'")
        return {alias: int(version) for alias, version in found[0].aliases.items()} if found else {}

    def _number(self, champions: Sequence[VersionId]) -> int:
        """Return the number of the last of these versions that still exists; 0 if none does."""
        last = self.last_existing(champions)
        return last.number if last else 0

    def _point(self, alias: str, version: int) -> None:
        if version:
            self.client.set_registered_model_alias(self.model, alias, str(version))
        elif alias in self._aliases():  # removing an alias needs more rights than setting one
            self.client.delete_registered_model_alias(self.model, alias)

    def _create(self, source: str, tags: dict[str, str], description: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.create_model_version(self.name, source, tags=tags, description=description)
                return
            except MlflowException as error:
                if any(entry.key == tags["key"] for entry in self.entries()):
                    return  # the entry was created, but the answer was lost
                if "creation error" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0, 0.2))

    def _entry(self, version: ModelVersion) -> HistoryEntry | None:
        """Return the entry in a version; None if its tags were edited and make no sense."""
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
        """Return the version of an entry. Old entries have only its number, which may stand for another version now."""
        number = int(entry.tags["version"])
        if not number:
            return None
        if "created" in entry.tags:
            return VersionId(number, int(entry.tags["created"]))
        found = find_version(self.client, self.model, number)
        is_older = found and int(found.creation_timestamp) <= int(entry.creation_timestamp)
        return identify(found) if found and is_older else VersionId(number, 0)
