"""`make status` names each stage that is stale, damaged or running, and the reason."""

import json
import os
import re
from pathlib import Path

from pipeline.plumbing.lock import hold
from tests.manifests import rewrite_manifest
from tests.project import Finished


def test_status_shows_running_stages_and_damaged_artifacts(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    weights = project.build / "model/weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    project.manifest("encode").write_text("{}", encoding="utf-8")
    with hold(project.build, "register"):
        lines = project.make("status").stdout.splitlines()[1:]
    told = dict(line.split(maxsplit=1) for line in lines)
    assert told["train"] == (
        "damaged: build/smoke/model/weights.safetensors differs from its sha256 in manifest.json; "
        "remove build/smoke/model and run: make train EXP=smoke"
    )
    assert told["encode"] == (
        "damaged: build/smoke/encoded/manifest.json is damaged or was edited; "
        "remove build/smoke/encoded and run: make encode EXP=smoke"
    )
    assert re.fullmatch(rf"running: process {os.getpid()} on .*, since .*", told["register"])


def test_status_shows_changed_versions_of_libraries_which_make_nothing_stale(
    finished: Finished, tmp_path: Path
) -> None:
    project = finished.copy_to(tmp_path)
    made_with = json.loads(project.manifest("train").read_bytes())["made_with"]
    assert {"torch", "accelerate", "sentencepiece", "sacrebleu", "python"} <= made_with["libraries"].keys()
    assert {"processor", "precision", "threads", "device"} <= made_with["machine"].keys()
    now = made_with["libraries"]["torch"]
    made_with["libraries"] |= {"torch": "1.0", "gone": "2.0"}
    rewrite_manifest(project.build / "model", made_with=made_with)
    told = project.make("status").stdout
    assert f"  train      fresh (made with gone 2.0, now not installed; torch 1.0, now {now})" in told or (
        f"  train      fresh (made with torch 1.0, now {now}; gone 2.0, now not installed)" in told
    )
    assert project.planned() == []


def test_status_shows_why_a_stage_is_stale(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    project.edit("experiments/smoke.yaml", "learning_rate: 1.0e-2", "learning_rate: 2.0e-2")
    lines = project.make("status").stdout
    assert re.search(r"^  train +stale: train\.learning_rate: 0\.01 -> 0\.02$", lines, re.MULTILINE)
    assert re.search(r"^  evaluate +stale: train has to run first$", lines, re.MULTILINE)
