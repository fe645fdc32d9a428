"""Decoding with several real processes gives bit-identical results to decoding with one."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.plumbing.artifacts import Artifact, open_artifact, write_json
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import EvaluateSettings
from pipeline.plumbing.tracking.journal import JOURNAL
from pipeline.plumbing.tracking.record import TRAINING, begin
from pipeline.seq2seq import translator as module
from pipeline.seq2seq.translator import BLANK, Translator, in_order
from stages.translate import read_blocks
from tests.decode_together import BEAM_SIZE, LENGTH_PENALTY, bits
from tests.launched import start
from tests.project import ROOT
from tests.published import publish_corpus, publish_model

WORDS = ["open", "close", "save", "delete", "the", "a", "new", "old", "file", "window", "image", "`x`", "<b>", "|"]


def sentences(count: int) -> list[str]:
    """Return sentences of 1 to 40 words; every ninth is blank."""
    draw = random.Random(1)
    return ["  "[: i % 3] if i % 9 == 4 else " ".join(draw.choices(WORDS, k=draw.randint(1, 40))) for i in range(count)]


CASES = {"many": sentences(120), "fewer than processes": ["open the file"], "blank": ["", " "], "none": []}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return publish_corpus(tmp_path_factory.mktemp("build") / "corpus")


@pytest.fixture(scope="module")
def model(corpus: Artifact) -> Artifact:
    home = corpus.directory.parent
    begin(home / TRAINING, home, "first", {}, [])
    (home / TRAINING / JOURNAL).touch()
    return publish_model(home / "model", corpus, home / TRAINING)


@pytest.fixture
def translator(model: Artifact) -> Iterator[Translator]:
    """Yield a translator that uses one thread, like each of several processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Translator.load(model.directory, torch.device("cpu"))
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_every_process_gets_the_translations_of_one_process(
    translator: Translator, model: Artifact, tmp_path: Path, processes: int
) -> None:
    write_json(tmp_path / "cases.json", CASES)
    start(processes, "tests.decode_together", model.directory, tmp_path / "cases.json", tmp_path)
    alone = {name: translator.translate(case, BEAM_SIZE, LENGTH_PENALTY) for name, case in CASES.items()}
    expected = {name: [bits(translation) for translation in translations] for name, translations in alone.items()}
    for rank in range(processes):
        found = json.loads((tmp_path / f"{rank}.json").read_bytes())
        assert {name: case["translations"] for name, case in found.items()} == expected
        for name, case in CASES.items():
            assert sum(found[name]["advances"]) == len(case)
            assert min(found[name]["advances"]) >= 0


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["", " ", *WORDS]), max_size=20), st.integers(1, 5))
def test_the_shares_of_all_processes_make_up_the_whole(
    translator: Translator, given: list[str], processes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_CELLS", 20)  # so that batches have a few words
        whole = translator.translate(given, 2, 1.0)
        shares = [
            list(chain.from_iterable(translator.translate_share(given, 2, 1.0, rank, processes)))
            for rank in range(processes)
        ]
    assert sorted(i for share in shares for i, _ in share) == list(range(len(given)))
    assert [bits(t) for t in in_order(chain(*shares), len(given))] == [bits(t) for t in whole]


@pytest.mark.parametrize("rows", [[0, 2], [0, 1, 1, 2], [0, 1, 1], [0, 1, 2, 3], []], ids=str)
def test_a_missing_or_repeated_sentence_is_an_error(rows: list[int]) -> None:
    with pytest.raises(
        UserError, match=f"each of 3 sentences, got {len(rows)} translations of {len(set(rows))} sentences;"
    ):
        in_order([(row, BLANK) for row in rows], 3)


@pytest.mark.slow
def test_make_translate_prints_the_same_with_two_processes(model: Artifact) -> None:
    text = "\n".join(sentences(150)).encode()
    alone = start(1, "stages.translate", model.directory, stdin=text)
    assert alone.count(b"\n") == 150
    assert start(2, "stages.translate", model.directory, stdin=text) == alone


def test_one_process_translates_without_accelerate(model: Artifact) -> None:
    """Importing accelerate takes as long as translating a sentence."""
    code = "import sys; from stages.translate import translate; translate(); sys.exit('accelerate' in sys.modules)"
    command = [sys.executable, "-c", code, str(model.directory)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"TEXT": "open the file"}, capture_output=True)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 1), done.stderr.decode()


def test_a_text_that_is_not_utf_8_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT", "öffne\ndie Datei")
    assert list(read_blocks()) == [["öffne", "die Datei"]]
    monkeypatch.setitem(os.environb, b"TEXT", b"datei \xff")
    with pytest.raises(UserError, match="^TEXT is not UTF-8: .* byte 0xff in position 6"):
        next(read_blocks())


@pytest.mark.slow
def test_make_evaluate_publishes_the_same_artifact_with_two_processes(
    corpus: Artifact, model: Artifact, tmp_path: Path
) -> None:
    stamp = {"params": {"evaluate": EvaluateSettings(beam_size=3).model_dump()}, "code": {}}
    write_json(tmp_path / "stamp.json", stamp)
    manifests = [artifact.directory / "manifest.json" for artifact in (corpus, model)]
    for processes in (1, 2):
        start(
            processes, "stages.evaluate", tmp_path / "stamp.json", *manifests, tmp_path / str(processes) / "evaluation"
        )
    alone, together = (open_artifact(tmp_path / name / "evaluation", "evaluate") for name in "12")
    assert together.files == alone.files
    assert together.digest == alone.digest
