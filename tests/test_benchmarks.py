"""The benchmarks' own arithmetic and tables, and `make bench` on a small experiment."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import Tensor, nn

import benchmarks.peers.__main__ as peers
from benchmarks import gpu, quality
from benchmarks.arithmetic import Product, Shape, decoding, encoding
from benchmarks.experiment import Experiment
from benchmarks.figures import Figure, asked_for, number, report, table
from benchmarks.peers import environments
from benchmarks.peers.pieces import write_pieces
from benchmarks.training import Settings
from pipeline.data.encoded_shards import EncodedShards
from pipeline.data.tokenizer import Tokenizer
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ModelSettings
from pipeline.plumbing.params_file import read_params
from pipeline.seq2seq.model import Seq2Seq
from tests.project import Project

SHAPE = Shape(pairs=3, source=5, target=7)
VOCABULARY = 11


def _settings(**changed: object) -> ModelSettings:
    sizes = {"embedding_size": 4, "hidden_size": 6, "encoder_layers": 2, "decoder_layers": 3, "attention_heads": 2}
    return ModelSettings.model_validate(sizes | changed)


def _weights(module: nn.Module | Tensor) -> int:
    """Return the number of weights in the matrices of a module."""
    assert isinstance(module, nn.Module)
    return sum(p.numel() for p in module.parameters() if p.dim() == 2)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("attention", ["dot", "general", "concat", "additive", "multihead"])
@pytest.mark.parametrize("tie_embeddings", ["all", "none"])
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("by_step", [False, True])
def test_each_weight_is_used_once_for_each_token(
    cell: str, attention: str, tie_embeddings: str, input_feeding: bool, by_step: bool
) -> None:
    settings = _settings(
        cell=cell, attention=attention, tie_embeddings=tie_embeddings, input_feeding=input_feeding, dropout=0.0
    )
    model = Seq2Seq(settings, VOCABULARY, VOCABULARY)
    sources, targets = SHAPE.pairs * SHAPE.source, SHAPE.pairs * SHAPE.target
    keys = _weights(model.decoder.attention.key) if attention != "dot" else 0
    keys += _weights(model.decoder.attention.value) if attention == "multihead" else 0
    found = sum(product.operations for product in encoding(settings, SHAPE))
    assert found == 2 * sources * (_weights(model.encoder) + keys)
    # A vector that is stored as a matrix; scores are counted as products.
    energy = settings.hidden_size if attention in ("concat", "additive") else 0
    weights = _weights(model.decoder) - keys - energy - _weights(model.decoder.bridge)
    weights += _weights(model.projection) + _weights(model.output)
    attending = 2 * targets * SHAPE.source * settings.hidden_size  # scores and contexts
    found = sum(product.operations for product in decoding(settings, SHAPE, VOCABULARY, by_step=by_step))
    assert found == 2 * targets * weights + 2 * attending


def test_a_product_counts_multiplications_and_additions() -> None:
    assert Product(2, 3, 4, batch=5, times=6).operations == 2 * 2 * 3 * 4 * 5 * 6


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.03456, "0.0346"), (4.0, "4"), (48.24, "48.2"), (100.4, "100"), (14321.0, "14,300")],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_has_the_median_the_quartiles_and_the_share_of_the_ceiling() -> None:
    figures = [Figure("train", "tokens/s", (10.0, 30.0, 20.0, 40.0, 50.0), 60.0), Figure("memory", "GB", (1.5,))]
    assert table(figures)[1:] == [
        ("train", "30", "15 to 45", "tokens/s", "50% of 60"),
        ("memory", "1.5", "", "GB", ""),
    ]


def test_a_report_is_written_as_json_and_markdown(tmp_path: Path) -> None:
    figure = Figure("train", "tokens/s", (10.0, 30.0), 40.0)
    report("Speed of mine", [figure], {"commit": "abc"}, tmp_path / "new" / "all")
    document = json.loads((tmp_path / "new" / "all.json").read_text())
    assert document["conditions"] == {"commit": "abc"}
    assert document["figures"][0] == {
        "what": "train",
        "unit": "tokens/s",
        "median": 20.0,
        "values": [10.0, 30.0],
        "ceiling": 40.0,
        "share_of_ceiling": 0.5,
    }
    assert "| train | 20 | 10 to 30 | tokens/s | 50% of 40 |" in (tmp_path / "new" / "all.md").read_text()


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "many"])
def test_a_number_that_makes_no_sense_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURATION", text)
    with pytest.raises(UserError, match=f"DURATION: got {text!r}, expected a number above 0"):
        asked_for("DURATION", 40)


@pytest.mark.slow
def test_make_bench_measures_a_complete_experiment(project: Project) -> None:
    assert project.make("bench", "DURATION=1").returncode == 2  # there is nothing to measure yet
    run = project.make()
    assert run.returncode == 0, run.stderr
    run = project.make("bench", "DURATION=15", "REPEATS=1")
    assert run.returncode == 0, run.stdout + run.stderr
    document = json.loads((project.root / "build/benchmarks/all-smoke.json").read_text())
    figures = {figure["what"]: figure for figure in document["figures"]}
    assert {"train LSTM, fp32", "train GRU, fp32", "train GRU, fp32, memory", "make, nothing to do"} <= figures.keys()
    assert all(figure["median"] > 0 for figure in figures.values())
    assert 0 < figures["train GRU, fp32"]["share_of_ceiling"] < 1
    assert "Nothing to be done" in project.make().stdout  # nothing of the experiment has changed


@pytest.mark.slow
def test_make_bench_diff_names_a_commit_that_does_not_exist(project: Project) -> None:
    run = project.make("bench-diff", "REV=nothing")
    assert (run.returncode, "REV: got 'nothing', expected a commit" in run.stderr) == (2, True), run.stderr


@pytest.mark.parametrize("score", ["", "many", "0", "33 101", "nan"])
def test_a_quality_that_no_model_can_have_is_refused(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["quality", score, "build/default", "params.yaml"])
    with pytest.raises(UserError, match=f"BLEU: got {score!r}, expected scores between 0 and 100"):
        quality.main()


def test_a_peer_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["peers", "opennmt marian", "build/default", "params.yaml"])
    with pytest.raises(UserError, match="PEERS: got 'marian', expected: opennmt ctranslate2"):
        peers.main()


def test_the_table_beside_other_toolkits_has_medians_spreads_and_the_ratios_of_each_turn() -> None:
    contest = object.__new__(peers.Contest)  # which would install the peers
    contest.pythons = {peer: Path() for peer in peers.PEERS}
    contest.precisions = ["fp32"]
    contest.tokens = {"opennmt": [100.0, 200.0], "fp32": [400.0, 600.0]}
    contest.memory = {"opennmt": [2.0, 2.0], "fp32": [1.0, 1.5]}
    contest.sentences = {1: {"ours": [30.0], "opennmt": [10.0], "ctranslate2": [20.0]}, 5: {}}
    assert contest.side_by_side() == [
        ("", "ours", *(rivals := list(peers.NAMES.values())), *(f"ours / {name}" for name in rivals)),
        ("training in fp32, target tokens/s", "500 (400 to 600)", "150 (100 to 200)", "", "3.5 (3 to 4)", ""),
        ("memory in training in fp32, GB", "1.25 (1 to 1.5)", "2 (2 to 2)", "", "", ""),
        ("translating, greedy, sentences/s", "30", "10", "20", "3", "1.5"),
        ("translating, beam 5, sentences/s", "", "", "", "", ""),
    ]


def test_a_peer_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees the libraries of this project. If its requirements change, it is installed again."""
    requirements = tmp_path / "toolkit.txt"
    requirements.write_text("# nothing\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    python = environments.python_of("toolkit", tmp_path / "here")
    assert subprocess.run([python, "-c", "import torch"], check=False).returncode == 0
    (tmp_path / "here/toolkit/mark").touch()
    assert environments.python_of("toolkit", tmp_path / "here") == python
    assert (tmp_path / "here/toolkit/mark").exists()
    requirements.write_text("# something else\n")
    environments.python_of("toolkit", tmp_path / "here")
    assert not (tmp_path / "here/toolkit/mark").exists()


@pytest.mark.slow
def test_the_work_of_peers_is_measured(project: Project) -> None:
    """The pieces that they read are those of the encoded corpus, and we translate to the length that they do."""
    run = project.make("encode")
    assert run.returncode == 0, run.stderr
    root = project.root
    experiment = Experiment(root / "build/smoke", read_params([root / "params.yaml", root / "experiments/smoke.yaml"]))
    pieces = write_pieces(experiment, root / "pieces")
    encoded = EncodedShards(experiment.artifact("encoded")).open(0)
    tokenizer = experiment.artifact("tokenizer")
    model = Tokenizer.load(tokenizer.directory)
    for side in ("source", "target"):
        lines = pieces.file("train", side).read_text().splitlines()
        assert len(lines) == len(encoded)
        names = model.source_pieces if side == "source" else model.target_pieces
        assert lines[7].split(" ") == names(getattr(encoded, side).sentence(7).tolist()[:-1])
        assert set(lines[7].split(" ")) <= set(pieces.vocabulary(side).read_text().splitlines())
    (root / "sentences.txt").write_text("Tha plum.\nTha vost paskes.\n")
    settings = ModelSettings(embedding_size=8, hidden_size=8).model_dump_json()
    command = [sys.executable, "-m", "benchmarks.peers.untrained", str(tokenizer.directory), settings]
    run = subprocess.run([*command, "sentences.txt", "5"], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout).keys() == {"1", "5"}


@pytest.mark.slow
def test_make_bench_quality_stops_at_the_quality(project: Project) -> None:
    run = project.make("encode")
    assert run.returncode == 0, run.stderr
    run = project.make("bench-quality", "BLEU=0.001 0.002")
    assert run.returncode == 0, run.stderr
    document = json.loads((project.root / "build/benchmarks/quality-smoke.json").read_text())
    reached, better, best, until_best, total = document["figures"]
    assert "to BLEU 0.001 on the validation split" in reached["what"]
    assert 0 < reached["median"] <= better["median"] <= until_best["median"] == total["median"]
    assert best["median"] >= 0.002


@pytest.mark.slow
def test_the_parts_of_the_gpu_benchmark_train_another_network_and_the_experiment_to_its_end(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here on a CPU, with a small network instead of the large one."""
    for module in (gpu, quality):
        monkeypatch.setattr(module, "ROOT", project.root)
    monkeypatch.setattr(gpu, "OUTPUT", tmp_path)
    run = project.make("encode")
    assert run.returncode == 0, run.stderr
    params = read_params([project.root / "params.yaml", project.root / "experiments/smoke.yaml"])
    experiment = Experiment(project.build, params)
    changed: Settings = {"model": {"encoder_layers": 2, "decoder_layers": 2}, "train": {"precision": "fp32"}}
    (speed,) = gpu.measure_large(experiment, changed, seconds=15)
    assert (speed.what, speed.unit) == ("train 2 + 2 layers of 64, fp32", "source + target tokens/s")
    assert speed.ceiling is not None
    assert 0 < speed.median < speed.ceiling
    best, until_best, total = quality.measure_quality(experiment, [], tmp_path / "quality")
    assert best.median > 0
    assert 0 < until_best.median <= total.median
    assert (tmp_path / "quality/model/manifest.json").is_file()


def test_the_gpu_benchmark_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu", "build/default", "params.yaml"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="needs a CUDA device.*make bench"):
        gpu.main()
