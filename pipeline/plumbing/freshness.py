"""Owns why a stage's artifact is stale. Whether it is, is Make's rule: it is missing, or older than what it is made of.

Times decide, contents explain: a stale artifact's manifest tells the settings, code and inputs that it was made with.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .artifacts import MANIFEST, read_json, sha256_of


def stale_reasons(stamps: Path, artifacts: Mapping[str, Path]) -> dict[str, list[str]]:
    """Stage -> why it is stale, no reason for a fresh one. `artifacts` has the stages in the order that they run in."""
    reasons: dict[str, list[str]] = {}
    stages = {directory.name: stage for stage, directory in artifacts.items()}
    for stage, directory in artifacts.items():
        manifest = read_json(directory / MANIFEST)
        if manifest is None:
            scratch = list(directory.parent.glob(f"{directory.name}.*"))  # model.tmp, model.training
            reasons[stage] = ["interrupted" if scratch else "never run"]
            continue
        made = (directory / MANIFEST).stat().st_mtime_ns
        reasons[stage] = list(_changed_stamp(stamps / f"{stage}.json", manifest["stamp"], made))
        for name, digest in manifest["inputs"].items():
            if reasons.get(stages[name]):
                reasons[stage].append(f"after {stages[name]}")
            else:
                reasons[stage] += _changed_input(directory.with_name(name) / MANIFEST, digest, made)
    return reasons


def _changed_stamp(path: Path, before: dict[str, Any], made: int) -> Iterator[str]:
    if path.stat().st_mtime_ns <= made:
        return
    now = read_json(path)
    if now == before:
        yield f"{path} was written again"
    old, new = (dict(_flat(stamp["params"])) for stamp in (before, now))
    for setting in sorted(old.keys() | new.keys()):
        if old.get(setting) != new.get(setting):
            yield f"{setting}: {_show(old, setting)} -> {_show(new, setting)}"
    for file in sorted(before["code"].keys() | now["code"].keys()):
        if before["code"].get(file) != now["code"].get(file):
            change = "changed" if file in before["code"] and file in now["code"] else "no longer needed"
            yield f"{file} {change if file in before['code'] else 'is needed now'}"


def _changed_input(manifest: Path, digest: str, made: int) -> Iterator[str]:
    if manifest.stat().st_mtime_ns > made:
        yield f"{manifest.parent.name} was made again{', the same' if sha256_of(manifest) == digest else ''}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _show(settings: Mapping[str, Any], setting: str) -> str:
    return repr(settings[setting]) if setting in settings else "(none)"
