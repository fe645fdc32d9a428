"""A project of six stages, whose stamps and artifacts are real."""

import json
from pathlib import Path
from typing import Any

from pipeline.plumbing.artifacts import publish, sha256_of
from pipeline.plumbing.command import TARGETS
from pipeline.plumbing.freshness import state_of_all
from pipeline.plumbing.params import Params
from pipeline.plumbing.stamps import SECTIONS, write_stamps

SETTINGS = {"download": {"source": "wheels", "source_language": "en", "target_language": "de"}}


class Toy:
    """A project of six one-line stages, of which train and evaluate share `pipeline/model.py`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stamps = root / "build/default/stamps"
        self.artifacts = {stage: root / "build/default" / name for name, stage in TARGETS.items()}
        for package in ("pipeline", "pipeline/plumbing", "pipeline/sources", "stages"):
            self.write(f"{package}/__init__.py", "")
        for stage in SECTIONS:
            self.write(f"stages/{stage}.py", "x = 1\n")
        self.write("stages/train.py", "from pipeline.model import Model\n")
        self.write("stages/evaluate.py", "def f() -> None:\n    from pipeline import model\n")
        self.write(
            "pipeline/model.py",
            '"""A model."""\nfrom .layers import layer\nfrom .plumbing.params import Params\nimport torch\n',
        )
        self.write("pipeline/layers.py", "def layer():\n    '''A layer.'''\n    return 1  # one\n")
        self.write("pipeline/plumbing/params.py", "a = 1\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def stamp(self, settings: dict[str, Any] | None = None) -> None:
        params = Params.model_validate(SETTINGS | (settings or {}))
        write_stamps(self.stamps, params, self.artifacts, self.root, watched={})

    def run(self, *stages: str) -> None:
        """Publish the artifacts of stages, each newer than its stamp, as Make does."""
        for stage in stages or SECTIONS:
            stamp = json.loads((self.stamps / f"{stage}.json").read_bytes())
            with publish(self.artifacts[stage], {}, stamp):
                pass

    def times(self) -> dict[str, int]:
        return {stage: (self.stamps / f"{stage}.json").stat().st_mtime_ns for stage in SECTIONS}

    def rewritten(self, settings: dict[str, Any] | None = None) -> list[str]:
        """Return the stages whose stamps a new check rewrites."""
        before = self.times()
        self.stamp(settings)
        after = self.times()
        return [stage for stage in SECTIONS if before[stage] != after[stage]]

    def stale(self) -> dict[str, list[str]]:
        states = state_of_all(self.stamps, self.artifacts, sha256_of)
        return {stage: reasons or [state] for stage, (state, reasons) in states.items() if state != "fresh"}
