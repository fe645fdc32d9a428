"""Damaged files: thousands of mutated inputs of each format end in their pairs or in a clear error.

Never in another exception, and never with a row lost or out of line: where the format has a row in each line, there are
as many pairs as lines.
"""

import io
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import polib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.sources.tables import read_aligned, read_pairs
from pipeline.data.sources.wheels import gettext_entries
from pipeline.plumbing.errors import UserError

LANGUAGES = ("en", "de")
PAIRS = [("The dog sleeps", "Der Hund schläft"), ('a "quoted" word', "ein, zwei"), ("", "語\u2028x"), ("tab", "{}\\")]
SECONDS = 10  # that one file may take


def parquet() -> bytes:
    table, file = pa.table({"en": [s for s, _ in PAIRS * 9], "de": [t for _, t in PAIRS * 9]}), io.BytesIO()
    pq.write_table(table, file, row_group_size=7)
    return file.getvalue()


def lines(rows: list[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


SOUND: dict[str, Callable[[], bytes]] = {
    "a.parquet": parquet,
    "a.jsonl": lambda: lines([json.dumps({"en": s, "de": t}, ensure_ascii=False) for s, t in PAIRS]),
    "a.json": lambda: json.dumps([{"translation": {"en": s, "de": t}} for s, t in PAIRS]).encode(),
    "a.csv": lambda: lines(["en,de", *(f'"{s.replace(chr(34), chr(34) * 2)}","{t}"' for s, t in PAIRS)]),
    "a.tsv": lambda: lines(["en\tde", *(f"{s}\t{t}" for s, t in PAIRS)]),
    "a.txt": lambda: lines([t for _, t in PAIRS]),
    "a.po": lambda: lines(
        [
            f"msgid {json.dumps(s or 'x')}\nmsgstr {json.dumps(' '.join(t.split()), ensure_ascii=False)}\n"
            for s, t in PAIRS
        ]
    ),
    "a.mo": lambda: polib.pofile(SOUND["a.po"]().decode()).to_binary(),
}
SIGNS = st.sampled_from(
    [b"\n", b"\r", b"\0", b'"', b"\t", b",", b"{", b"[", b"\\", b"\xff", b"\xe2\x80\xa8", b"\\ud800"]
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "remove", "repeat", "cut"]),
        st.integers(0, 2**16),
        SIGNS | st.binary(min_size=1, max_size=4),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content: bytes, edits: list[tuple[str, int, bytes, int]]) -> bytes:
    for kind, where, new, length in edits:
        at = where % (len(content) + 1)
        end = {"replace": at + len(new), "remove": at + length, "cut": len(content)}.get(kind, at)
        added = {"insert": new, "replace": new, "repeat": content[at : at + length]}.get(kind, b"")
        content = content[:at] + added + content[end:]
    return content


@contextmanager
def limited() -> Iterator[None]:
    """Fail if the block takes more than SECONDS."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"a file took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pairs_of(file: Path) -> list[tuple[str, str]]:
    if file.suffix in (".po", ".mo"):
        return list(gettext_entries(file.name, file.read_bytes()))
    if file.suffix == ".txt":
        sound = file.with_name("sound.txt")
        sound.write_bytes(SOUND["a.txt"]())
        return list(read_aligned(sound, file))
    return list(read_pairs(file, LANGUAGES))


def check(folder: Path, name: str, edits: list[tuple[str, int, bytes, int]]) -> None:
    content = mutated(SOUND[name](), edits)
    (folder / name).write_bytes(content)
    message, found = "", list[tuple[str, str]]()
    try:
        with limited():
            found = pairs_of(folder / name)
    except UserError as error:
        message = str(error)
    if message:
        assert name in message
        assert "\n" not in message
        return
    assert all(isinstance(side, str) for pair in found for side in pair)
    for pair in found:
        "".join(pair).encode()  # can be written
    filled = [line for line in content.split(b"\n") if line.strip()]
    if name == "a.jsonl":
        assert len(found) == len(filled)
    if name == "a.tsv":
        assert len(found) == sum(bool(line.rstrip(b"\r")) for line in content.split(b"\n")) - 1
    if name == "a.txt":
        assert [source for source, _ in found] == [target for _, target in PAIRS]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_file_gives_its_pairs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SOUND[name]())
    assert len(pairs_of(tmp_path / name)) == (36 if name == "a.parquet" else 4)


@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_a_damaged_file_gives_pairs_or_a_clear_error(
    tmp_path: Path, name: str, edits: list[tuple[str, int, bytes, int]]
) -> None:
    check(tmp_path, name, edits)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_twelve_thousand_damaged_files(tmp_path: Path, name: str, edits: list[tuple[str, int, bytes, int]]) -> None:
    check(tmp_path, name, edits)
