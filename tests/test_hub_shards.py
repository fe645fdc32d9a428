"""Shards of encoded text on the Hub, read through hf:// from a Hub on the loopback address, with and without faults."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.downloading import ROOT
from tests.minihub import MiniHub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = os.urandom(3_000_000)
READ = """
import sys
from pipeline.data import encoded_shards
from pipeline.data.facts import ShardFacts
from pipeline.plumbing.command import fail_clearly
def read():
    facts = ShardFacts(name="train-00000-a.arrow", pairs=1, bytes=1, sha256=sys.argv[2])
    sys.stdout.buffer.write(encoded_shards._download(sys.argv[1], facts, "write them again").to_pybytes())
encoded_shards.PAUSES = (0.0, 0.0, 0.0)
fail_clearly(read)
"""


@pytest.mark.parametrize("fault", [None, "503", "429", "reset", "corrupt", "truncate", "page", "404", "always corrupt"])
def test_a_shard_is_read_from_the_hub_or_refused(tmp_path: Path, fault: str | None) -> None:
    """A fault happens at the first request for the file; after it, the file is read again."""
    happened: list[str] = []

    def faulty(method: str, path: str) -> str | None:
        is_content = method == "GET" and path.endswith("train-00000-a.arrow")
        if fault and is_content and (not happened or fault in ("404", "always corrupt")):
            happened.append(path)
            return fault.removeprefix("always ")
        return None

    with MiniHub("me/shards", COMMIT, {"toy/train-00000-a.arrow": CONTENT}, faulty) as hub:
        environment = {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
        store, sha256 = f"hf://datasets/me/shards@{COMMIT}/toy", hashlib.sha256(CONTENT).hexdigest()
        command = [sys.executable, "-c", READ, store, sha256]
        run = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, check=False)
    told = run.stderr.decode()
    assert bool(happened) == bool(fault)
    if fault in ("404", "always corrupt"):
        assert (run.returncode, run.stdout) == (2, b"")
        assert f"error: encode.store: {store}/train-00000-a.arrow cannot be read: " in told
        assert "Traceback" not in told
    else:
        assert run.returncode == 0, told
        assert run.stdout == CONTENT
