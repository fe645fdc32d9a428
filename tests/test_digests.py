"""Digests of files are remembered until the files change."""

import hashlib
import os
from pathlib import Path

from pipeline.plumbing.digests import Digests
from pipeline.plumbing.watch import signature


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file, memory = tmp_path / "data", tmp_path / "memory.json"
    file.write_bytes(b"1")
    first = Digests(memory)
    digest = first.sha256(file)
    assert first.files[str(file)]["signature"] is None  # written too shortly before it was read
    first.files[str(file)] = {"signature": signature(str(file)), "sha256": "remembered"}
    first.save()
    assert Digests(memory).sha256(file) == "remembered"
    times = file.stat()
    file.write_bytes(b"2")  # in place, with the same size and time of content
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert Digests(memory).sha256(file) == hashlib.sha256(b"2").hexdigest()
    for damage in ("", "[]", '{"files": []}', f'{{"files": {{"{file}": 1}}}}'):
        memory.write_text(damage, encoding="utf-8")
        assert Digests(memory).sha256(file) != digest
