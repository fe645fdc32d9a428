"""Print the versions of an experiment's registered models and the record of its champions: PARAMS_FILE..."""

import time
from collections.abc import Collection, Iterable, Sequence

from mlflow.entities.model_registry import ModelVersion

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
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
CELL_CHARACTERS = 40  # characters that are shown of a tag, which anybody can edit
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def versions() -> None:
    registry = open_registry()
    for model in dict.fromkeys((registry.models.candidates, registry.production)):
        print("\n".join([model, *table([COLUMNS, *rows(registry, model)]), ""]))
    print("\n".join(record(registry)))


def rows(registry: Registry, model: str) -> list[Sequence[str]]:
    """A row a version, the newest first."""
    found = all_versions(registry.client, model)
    aliases: dict[str, list[str]] = {}
    for alias, version in (registry.client.get_registered_model(model).aliases if found else {}).items():
        aliases.setdefault(str(version), []).append(alias)
    return [
        row(version, aliases.get(str(version.version), []), verdict(registry, version)) for version in reversed(found)
    ]


def verdict(registry: Registry, version: ModelVersion) -> str:
    """What the last review found, as `make promote` reads it: what the version's tags say of it anybody can edit."""
    candidate = registry.models.candidate_of(version)
    try:
        found = registry.review_runs.find(candidate) if candidate else []
    except UserError:
        return "its reviews were deleted"
    return f"{found[0].verdict}, against {found[0].compared_with}" if found else "not reviewed"


def row(version: ModelVersion, aliases: Iterable[str], verdict: str) -> Sequence[str]:
    return (
        str(version.version),
        _tag(version, EXPERIMENT),
        ", ".join(sorted(aliases)) or "-",
        verdict,
        *(_tag(version, name) for name in (BLEU_TAG, DIFFERENCE_TAG, DATA_TAG, COMMIT_TAG)),
        age(time.time() - int(version.creation_timestamp) / 1000),
    )


def record(registry: Registry) -> list[str]:
    """Who became champion when, and why; the last decision first. Then what is not as the record says."""
    entries = registry.models.history.entries()
    state, in_force = replay(entries)
    production = registry.production
    if entries:
        known = {identify(version) for version in all_versions(registry.client, production)}
        told = [
            (entry.at, _decision(entry, entry.number in in_force, known), entry.by, entry.reason) for entry in entries
        ]
        lines = [f"champions of {production}", *table([("when", "what", "who", "why"), *reversed(told)])]
    else:
        lines = [f"no version of {production} has been champion yet"]
    if by_hand := registry.models.told_of_alias(state):
        lines += ["", by_hand]
    if not state.settled:
        lines += [
            "",
            "the last decision is not carried out to its end yet; if its command was cut short, type it again",
        ]
    return lines


def _decision(entry: HistoryEntry, is_in_force: bool, known: Collection[VersionId]) -> str:
    forced = ", forced" if entry.forced else ""
    deleted = ", deleted since" if entry.version and entry.version not in known else ""
    other = "" if is_in_force else " (another came first)"
    return f"{entry.action} to {entry.version or 'none'}{forced}{deleted}{other}"


def age(seconds: float) -> str:
    """`3 d`, `2 h`, `5 min`, `10 s`."""
    name, size = next(((name, size) for name, size in UNITS if seconds >= size), ("s", 1))
    return f"{max(0, int(seconds // size))} {name}"


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells as text, with columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]


def _tag(version: ModelVersion, name: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in version.tags.get(name, ""))
    return text.strip()[:CELL_CHARACTERS] or "-"


if __name__ == "__main__":
    fail_clearly(versions)
