"""Print the versions of an experiment's registered models and the history of its champions: PARAMS_FILE..."""

import time
from collections.abc import Collection, Iterable, Sequence

from mlflow.entities.model_registry import ModelVersion

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.text_table import aligned
from pipeline.registry.versions import (
    BLEU_TAG,
    COMMIT_TAG,
    DATA_TAG,
    DIFFERENCE_TAG,
    EXPERIMENT,
    VersionId,
    all_versions,
    identify,
)
from pipeline.reviews.promotion_history import HistoryEntry, replay
from stages.registry import Registry, open_registry

COLUMNS = ("version", "experiment", "aliases", "verdict", "BLEU [95 %]", "difference", "data", "commit", "age")
CELL_CHARACTERS = 40  # shown of a tag, which anybody can edit
TIME_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def versions() -> None:
    registry = open_registry()
    for model in dict.fromkeys((registry.models.candidates, registry.production)):
        print("\n".join([model, *aligned([COLUMNS, *rows(registry, model)]), ""]))
    print("\n".join(record(registry)))


def rows(registry: Registry, model: str) -> list[Sequence[str]]:
    """Return a row for each version, the newest first."""
    found = all_versions(registry.client, model)
    aliases: dict[str, list[str]] = {}
    for alias, version in (registry.client.get_registered_model(model).aliases if found else {}).items():
        aliases.setdefault(str(version), []).append(alias)
    return [
        row(version, aliases.get(str(version.version), []), last_verdict(registry, version))
        for version in reversed(found)
    ]


def last_verdict(registry: Registry, version: ModelVersion) -> str:
    """Return the verdict of the latest review. Like `make promote`, read it from its run: anybody can edit tags."""
    candidate = registry.models.candidate_of(version)
    try:
        found = registry.review_runs.find(candidate) if candidate else []
    except UserError:
        return "reviews were deleted"
    return f"{found[0].verdict}, against {found[0].compared_with}" if found else "not reviewed"


def row(version: ModelVersion, aliases: Iterable[str], verdict: str) -> Sequence[str]:
    """Return the cells of a version's row; `-` stands for a missing tag."""
    return (
        str(version.version),
        _tag(version, EXPERIMENT),
        ", ".join(sorted(aliases)) or "-",
        verdict,
        *(_tag(version, name) for name in (BLEU_TAG, DIFFERENCE_TAG, DATA_TAG, COMMIT_TAG)),
        age(time.time() - int(version.creation_timestamp) / 1000),
    )


def record(registry: Registry) -> list[str]:
    """Return lines about all champions, latest first (when, who and why), then lines about changes by hand."""
    entries = registry.models.history.entries()
    state, in_force = replay(entries)
    production = registry.production
    if entries:
        known = {identify(version) for version in all_versions(registry.client, production)}
        told = [
            (entry.at, _decision(entry, entry.number in in_force, known), entry.by, entry.reason) for entry in entries
        ]
        lines = [f"champions of {production}", *aligned([("when", "what", "who", "why"), *reversed(told)])]
    else:
        lines = [f"no version of {production} has been champion yet"]
    if by_hand := registry.models.told_of_alias(state):
        lines += ["", by_hand]
    if not state.settled:
        lines += [
            "",
            "the latest promotion or rollback is not complete; if its command was interrupted, type it again",
        ]
    return lines


def _decision(entry: HistoryEntry, is_in_force: bool, known: Collection[VersionId]) -> str:
    forced = ", forced" if entry.forced else ""
    deleted = ", now deleted" if entry.version and entry.version not in known else ""
    other = "" if is_in_force else " (had no effect: another came first)"
    return f"{entry.action} to {entry.version or 'none'}{forced}{deleted}{other}"


def age(seconds: float) -> str:
    """Return `3 d`, `2 h`, `5 min` or `10 s`."""
    name, size = next(((name, size) for name, size in TIME_UNITS if seconds >= size), ("s", 1))
    return f"{max(0, int(seconds // size))} {name}"


def _tag(version: ModelVersion, name: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in version.tags.get(name, ""))
    return text.strip()[:CELL_CHARACTERS] or "-"


if __name__ == "__main__":
    fail_clearly(versions)
