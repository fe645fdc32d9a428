"""Run the download stage as Make does, in a process of its own, with settings from a dict."""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Download:
    """The exit status, the output and the artifact of a run of the stage."""

    status: int
    output: str
    errors: str
    directory: Path

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.directory / "manifest.json").read_bytes())["facts"]
        return facts

    def pairs(self, split: str) -> list[tuple[str, str]]:
        table = pq.read_table(self.directory / f"{split}.parquet")
        return list(zip(table["source"].to_pylist(), table["target"].to_pylist(), strict=True))

    def refused(self, *words: str) -> bool:
        """Return whether the stage refused its input: status 2, one line with `words`, nothing written."""
        assert self.status == 2, f"status {self.status}: {self.output}{self.errors}"
        assert len(self.errors.splitlines()) == 1, self.errors
        for word in words:
            assert word in self.errors, f"{word!r} not in: {self.errors}"
        left = [path.name for path in self.directory.parent.glob("corpus*")]
        assert left == [], left
        return True


def download(folder: Path, environment: dict[str, str] | None = None, prelude: str = "", **settings: Any) -> Download:
    """Run the stage in `folder`, after the Python code `prelude` in the same process."""
    section = {"source_language": "en", "target_language": "de", **settings}
    stamp = folder / "build/test/stamps/download.json"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    corpus = folder / "build/test/corpus"
    # These stamps have no digests of files. If two were equal, the stage would keep the older corpus.
    params = {"download": section, "attempt": uuid.uuid4().hex}
    stamp.write_text(json.dumps({"stage": "download", "params": params, "code": {}}), encoding="utf-8")
    start = f"{prelude}\nimport runpy; runpy.run_module('stages.download', run_name='__main__')"
    command = [sys.executable, "-c", start, str(stamp), str(corpus)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    return Download(result.returncode, result.stdout, result.stderr, corpus)
