"""Report which artifacts are stale and why, and spare Make the stages that read an artifact with unchanged content.

Make compares times: it starts a stage whose artifact is missing, or older than its stamp or its inputs. This module
compares contents: the stamp and the digests of the inputs that the artifact's manifest records.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .artifacts import MANIFEST, check_artifact_files, find_manifest, read_json, read_manifest
from .errors import UserError


def date_as_before(directory: Path, stamp: Path, inputs: Iterable[Path]) -> None:
    """Set back the time of an artifact that was just published, if its content is the same as before.

    Make then does not run the stages that read it. The artifacts of these stages record the digest of this artifact. If
    all of them record its present digest, this artifact gets the time of the oldest of them. Its stamp gets that time
    too, unless the stamp has changed since the artifact was made.

    No time is changed if an artifact records another digest, because Make must run its stage. Nor is a time changed if
    the artifact would become older than one of `inputs`, the manifests that its stage read.
    """
    path = directory / MANIFEST
    manifest = read_manifest(directory, stamp.stem)
    uses = {
        other: found.inputs[directory.name]
        for other in directory.parent.iterdir()
        if (found := find_manifest(other)) and directory.name in found.inputs
    }
    if not uses or set(uses.values()) != {manifest.digest}:
        return
    oldest = min((other / MANIFEST).stat().st_mtime_ns for other in uses)
    newest = max((each.stat().st_mtime_ns for each in inputs), default=0)
    if newest <= oldest < path.stat().st_mtime_ns:
        if read_json(stamp) == manifest.stamp:
            set_time(stamp, oldest)
        set_time(path, oldest)


def is_stamp(content: Any) -> bool:
    """Return whether `content` is the content of a stamp."""
    return isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in ("params", "code"))


def set_time(path: Path, time: int) -> None:
    """Set the modification time of a file, in ns."""
    os.utime(path, ns=(time, time))


def state_of_all(
    stamps: Path, artifacts: Mapping[str, Path], sha256: Callable[[Path], str]
) -> dict[str, tuple[str, list[str]]]:
    """Return each stage's state (fresh, stale, damaged, interrupted or never run), and the reasons.

    `artifacts` are the directories of the stages' artifacts, in the order in which the stages run; `sha256` returns the
    digest of a file.
    """
    states: dict[str, tuple[str, list[str]]] = {}
    stages = {directory.name: stage for stage, directory in artifacts.items()}
    for stage, directory in artifacts.items():
        if not (directory / MANIFEST).exists():
            scratch = list(directory.parent.glob(f"{directory.name}.*"))  # model.tmp, model.training
            states[stage] = ("interrupted" if scratch else "never run", [])
            continue
        try:
            manifest = read_manifest(directory, stage)
            check_artifact_files(directory, manifest, stage, sha256)
        except UserError as damage:
            states[stage] = ("damaged", [str(damage)])
            continue
        made = (directory / MANIFEST).stat().st_mtime_ns
        reasons = list(_changed_stamp(stamps / f"{stage}.json", manifest.stamp, made))
        for name, digest in manifest.inputs.items():
            if states[stages[name]][0] != "fresh":
                reasons.append(f"{stages[name]} has to run first")
            elif _is_newer_and_other(directory.with_name(name), stages[name], digest, made):
                reasons.append(f"the content of {name} changed")
        states[stage] = ("stale" if reasons else "fresh", reasons)
    return states


def _changed_stamp(path: Path, before: dict[str, Any], made: int) -> Iterator[str]:
    now = read_json(path)
    if not is_stamp(now):
        yield f"{path} is missing or damaged; remove {path.parent} and run make again"
        return
    if path.stat().st_mtime_ns > made and now != before:
        yield from list(_changes(before, now)) or ["its stamp changed"]


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a description of each difference between two stamps."""
    old, new = (dict(_flat(stamp.get("params", {}))) for stamp in (before, now))
    for setting in sorted(old.keys() | new.keys()):
        if old.get(setting) != new.get(setting):
            yield f"{setting}: {_setting_value(old, setting)} -> {_setting_value(new, setting)}"
    yield from _changed_files(before.get("code", {}), now["code"], "needed")
    files, files_now = ({setting: dict(found) for setting, found in s.get("files", {}).items()} for s in (before, now))
    for setting in sorted(files.keys() & files_now.keys()):  # an added or removed setting was named above
        yield from _changed_files(files[setting], files_now[setting], f"in {setting}")


def _changed_files(old: Mapping[str, str], new: Mapping[str, str], role: str) -> Iterator[str]:
    for file in sorted(old.keys() | new.keys()):
        if old.get(file) != new.get(file):
            change = "changed" if file in old and file in new else f"is no longer {role}"
            yield f"{file} {change if file in old else f'is now {role}'}"


def _is_newer_and_other(directory: Path, stage: str, digest: str, made: int) -> bool:
    return (directory / MANIFEST).stat().st_mtime_ns > made and read_manifest(directory, stage).digest != digest


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _setting_value(settings: Mapping[str, Any], setting: str) -> str:
    return repr(settings[setting]) if setting in settings else "(none)"
