"""The evaluate stage, run on a tiny model with random weights and a toy corpus with two test sets."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.data.facts import CorpusFacts
from pipeline.data.tokenizer import Tokenizer, train_model
from pipeline.plumbing.artifacts import Artifact, open_artifact, publish, write_json
from pipeline.plumbing.command import StageCall
from pipeline.plumbing.params import EvaluateSettings, ModelSettings, TokenizerSettings
from pipeline.scoring.facts import EvaluationExecution, EvaluationFacts, Example, SystemName
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.translator import Translator, save_weights
from stages.evaluate import _warn_of_long, evaluate

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
ZAHLEN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]
SETTINGS = EvaluateSettings(beam_size=3, examples=4, heat_maps=2)

Spoil = Callable[[Seq2Seq, Tokenizer], None]


def pairs(start: int, count: int, words: int) -> dict[str, list[str]]:
    """Return pairs of number words, in English and German."""
    places = [[(start + 7 * i + k * (i + 1)) % 10 for k in range(words)] for i in range(count)]
    return {
        "source": [" ".join(NUMBERS[p] for p in sentence) for sentence in places],
        "target": [" ".join(ZAHLEN[p] for p in sentence) for sentence in places],
    }


def make_corpus(directory: Path, **changed: dict[str, list[str]]) -> Artifact:
    splits = {
        "train": pairs(0, 30, 4),
        "validation": pairs(1, 5, 4),
        "test": pairs(2, 12, 6),
        "test_long": pairs(3, 5, 11),
    } | changed
    with publish(directory, {}, {}) as draft:
        for name, columns in splits.items():
            pq.write_table(pa.table(columns), draft.directory / f"{name}.parquet")
        draft.facts = CorpusFacts(
            source_language="en",
            target_language="de",
            splits={name: len(columns["source"]) for name, columns in splits.items()},
            cut={},
            dropped={},
            sources=[],
        )
    return open_artifact(directory, "download")


def make_model(directory: Path, attention: str = "general", spoil: Spoil = lambda model, tokenizer: None) -> Artifact:
    """Publish an untrained model as the train stage would; `spoil` may change its weights."""
    with publish(directory, {}, {}) as draft:
        lines = [f"{a} {b}" for a in NUMBERS for b in ZAHLEN]
        (draft.directory / "joint.model").write_bytes(
            train_model(lines, TokenizerSettings(type="bpe", vocabulary_size=320))
        )
        tokenizer = Tokenizer.load(draft.directory)
        settings = ModelSettings(attention=attention, embedding_size=8, hidden_size=8)  # type: ignore[arg-type]
        vocabulary = len(tokenizer.target)
        torch.manual_seed(0)
        model = Seq2Seq(settings, vocabulary, vocabulary)
        spoil(model, tokenizer)
        save_weights(draft.directory, model.state_dict(), settings, (vocabulary, vocabulary))
    return open_artifact(directory, "train")


def run(build: Path, corpus: Artifact, model: Artifact, settings: EvaluateSettings = SETTINGS) -> Artifact:
    stamp = {"params": {"evaluate": settings.model_dump()}, "code": {}}
    evaluate(StageCall(stamp, {"corpus": corpus, "model": model}, build / "evaluation", build.name))
    return open_artifact(build / "evaluation", "evaluate")


def lines_of(artifact: Artifact, name: str) -> list[str]:
    return artifact.path(name).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def corpus(build: Path) -> Artifact:
    return make_corpus(build / "corpus")


@pytest.fixture(scope="module")
def model(build: Path) -> Artifact:
    return make_model(build / "model")


@pytest.fixture(scope="module")
def evaluation(build: Path, corpus: Artifact, model: Artifact) -> Artifact:
    return run(build, corpus, model)


def test_every_test_set_is_scored_and_no_other_split(evaluation: Artifact) -> None:
    test_sets = EvaluationFacts.of(evaluation).test_sets
    assert {name: scores.sentences for name, scores in test_sets.items()} == {"test": 12, "test_long": 5}
    for scores in test_sets.values():
        assert list(scores.systems) == ["beam", "greedy", "memory", "copy"]
    assert [row.words for row in test_sets["test_long"].by_length] == ["10-19"]
    assert list(test_sets["test"].by_length[0].bleu) == ["beam", "memory", "copy"]


def test_the_files_have_one_line_for_each_sentence_in_the_order_of_the_test_set(
    evaluation: Artifact, model: Artifact
) -> None:
    translator = Translator.load(model.directory)
    for name, test_set in (("test", pairs(2, 12, 6)), ("test_long", pairs(3, 5, 11))):
        sources = test_set["source"]
        assert lines_of(evaluation, f"{name}.source.txt") == sources
        assert lines_of(evaluation, f"{name}.reference.txt") == test_set["target"]
        assert lines_of(evaluation, f"{name}.greedy.txt") == [t.text for t in translator.translate(sources, 1)]
        assert lines_of(evaluation, f"{name}.beam.txt") == [t.text for t in translator.translate(sources, 3)]
        memory = lines_of(evaluation, f"{name}.memory.txt")
        assert len(memory) == len(sources)
        assert set(memory) <= set(pairs(0, 30, 4)["target"])


def test_a_warning_counts_the_sentences_that_reviews_will_leave_out(
    model: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    translator = Translator.load(model.directory)
    _warn_of_long("test", ["one two", "one " * 128], translator)
    assert capsys.readouterr().err == ""
    _warn_of_long("test", ["one two", "🙂" * 200, " " * 2_001], translator)
    assert capsys.readouterr().err.startswith("evaluate: test: 2 of 3 sentences, the first on line 2: longer than ")


def test_the_sacrebleu_command_gives_the_same_scores_for_the_files(evaluation: Artifact) -> None:
    files = [str(evaluation.path(f"test.{name}.txt")) for name in ("reference", "memory")]
    command = [sys.executable, "-m", "sacrebleu", files[0], "-i", files[1], "-m", "bleu", "chrf", "-w", "2", "-b"]
    found = [float(score) for score in json.loads(subprocess.check_output(command))]
    memory = EvaluationFacts.of(evaluation).test_sets["test"].systems["memory"]
    assert found == [memory.bleu, memory.chrf]
    assert found[1] > 10


def test_metrics_json_has_the_scores_and_signatures_but_no_timing(evaluation: Artifact) -> None:
    metrics = json.loads(evaluation.path("metrics.json").read_bytes())
    assert metrics == {key: evaluation.manifest.facts[key] for key in ("test_sets", "signatures")}
    assert EvaluationExecution.of(evaluation).timing["test"]["beam"].sentences_per_second > 0


def test_examples_are_drawn_from_all_test_sets_by_the_seed(
    evaluation: Artifact, corpus: Artifact, model: Artifact, tmp_path: Path
) -> None:

    def examples(**settings: int) -> list[Example]:
        return EvaluationFacts.of(run(tmp_path, corpus, model, SETTINGS.model_copy(update=settings))).examples

    drawn = EvaluationFacts.of(evaluation).examples
    assert len(drawn) == 4
    assert examples(seed=2) != drawn
    all_of_them = examples(examples=100)
    expected = [
        (name, *texts)
        for name in ("test", "test_long")
        for texts in zip(
            *(lines_of(evaluation, f"{name}.{k}.txt") for k in ("source", "reference", "beam")), strict=True
        )
    ]
    assert sorted(tuple(example.model_dump().values()) for example in all_of_them) == sorted(expected)


def test_a_second_run_publishes_an_identical_artifact(
    evaluation: Artifact, corpus: Artifact, model: Artifact, tmp_path: Path
) -> None:
    again = run(tmp_path, corpus, model)
    assert again.files == evaluation.files
    assert again.digest == evaluation.digest


def test_hypotheses_do_not_depend_on_the_references(evaluation: Artifact, model: Artifact, tmp_path: Path) -> None:
    test = pairs(2, 12, 6)
    corpus = make_corpus(tmp_path / "corpus", test={"source": test["source"], "target": test["target"][::-1]})
    blind = run(tmp_path, corpus, model)
    assert blind.path("test.reference.txt").read_bytes() != evaluation.path("test.reference.txt").read_bytes()
    for system in ("greedy", "beam", "memory"):
        assert blind.files[f"test.{system}.txt"] == evaluation.files[f"test.{system}.txt"]


def test_there_are_as_many_heat_maps_of_test_sentences_as_the_setting_says(evaluation: Artifact) -> None:
    maps = [name for name in evaluation.files if ".attention." in name]
    assert len(maps) == 2
    for name in maps:
        test_set, _, line, _ = name.split(".")
        assert 1 <= int(line) <= EvaluationFacts.of(evaluation).test_sets[test_set].sentences
    assert "bleu_by_length.png" in evaluation.files


def test_a_model_without_attention_has_no_heat_maps(corpus: Artifact, tmp_path: Path) -> None:
    found = run(tmp_path, corpus, make_model(tmp_path / "model", attention="none"))
    assert [name for name in found.files if name.endswith(".png")] == ["bleu_by_length.png"]


def test_heat_maps_can_be_switched_off(corpus: Artifact, model: Artifact, tmp_path: Path) -> None:
    found = run(tmp_path, corpus, model, EvaluateSettings(examples=1, heat_maps=0))
    assert len(EvaluationFacts.of(found).examples) == 1
    assert not any(".attention." in name for name in found.files)


def test_a_hypothesis_with_line_breaks_is_written_on_one_line(corpus: Artifact, tmp_path: Path) -> None:
    def say_line_breaks(model: Seq2Seq, tokenizer: Tokenizer) -> None:
        with torch.no_grad():
            model.output.bias[tokenizer.target.piece_to_id("<0x0A>")] = 50.0

    broken = make_model(tmp_path / "model", spoil=say_line_breaks)
    assert Translator.load(broken.directory).translate(["one two"])[0].tokens[:2] == ["<0x0A>", "<0x0A>"]
    found = run(tmp_path, corpus, broken)
    names: tuple[SystemName, ...] = ("greedy", "beam")
    for name in names:
        assert lines_of(found, f"test.{name}.txt") == [""] * 12
        assert EvaluationFacts.of(found).test_sets["test"].systems[name].empty == 1


def test_the_command_of_make_prints_one_line_for_each_test_set(
    corpus: Artifact, model: Artifact, evaluation: Artifact, tmp_path: Path
) -> None:
    write_json(tmp_path / "stamp.json", {"params": {"evaluate": SETTINGS.model_dump()}, "code": {}})
    manifests = [str(artifact.directory / "manifest.json") for artifact in (corpus, model)]
    command = [sys.executable, "-m", "stages.evaluate", str(tmp_path / "stamp.json"), *manifests]
    root = Path(__file__).parent.parent
    done = subprocess.run([*command, str(tmp_path / "evaluation")], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["test", "test_long"]
    assert open_artifact(tmp_path / "evaluation", "evaluate").files == evaluation.files
