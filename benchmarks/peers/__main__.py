"""Compare our speed with that of other toolkits on the same text: PEERS BUILD_DIRECTORY PARAMS_FILE...

PEERS are `opennmt` and `ctranslate2`, or one of them. We and the peers take turns, so that a machine whose speed varies
is fair to all. All train a network of the same size, and translate with an untrained network, each sentence to the same
number of pieces. So no speed depends on how well somebody trained.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ModelSettings, TrainSettings
from pipeline.plumbing.params_file import read_params
from pipeline.plumbing.text_table import Rows

from .. import ceilings
from ..__main__ import OUTPUT, ROOT, conditions
from ..experiment import TO_TRAIN, Experiment
from ..figures import Figure, asked_for, number, report
from ..training import Settings, TrainingSpeed, overlay, train
from .environments import python_of
from .opennmt import OpenNMT
from .pieces import Pieces, write_pieces

HERE = Path(__file__).parent
PEERS = ("opennmt", "ctranslate2")
NAMES = {"opennmt": "OpenNMT-py 3.5.1", "ctranslate2": "CTranslate2 int8, Transformer 6+2"}
# The network and the batches that all train. Every other setting is the experiment's.
WORK: Settings = {
    "model": {
        "cell": "lstm",
        "embedding_size": 256,
        "hidden_size": 512,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "attention": "general",
        "dropout": 0.3,
        "word_dropout": 0.0,
        "input_feeding": False,
    },
    "train": {"batch_tokens": 4096, "micro_batch_tokens": 4096},
}
DECODER_LAYERS = "2"  # of CTranslate2's Transformer
SEARCHES = {1: "greedy", 5: "beam 5"}

Speeds = dict[str, list[float]]  # the name of a toolkit or number format -> its speed in each turn


def main() -> None:
    peers, build, *files = sys.argv[1:]
    chosen = peers.split() or list(PEERS)
    if unknown := sorted(set(chosen) - set(PEERS)):
        raise UserError(f"PEERS: got {unknown[0]!r}, expected: {' '.join(PEERS)}")
    experiment = Experiment(ROOT / build, read_params([Path(file) for file in files]))
    experiment.check(TO_TRAIN)
    turns, seconds = max(1, round(asked_for("REPEATS", 3))), asked_for("DURATION", 90)
    contest = Contest(experiment, chosen, OUTPUT / "peers")
    for turn in range(turns):
        print(f"turn {turn + 1} of {turns}", file=sys.stderr)
        if "opennmt" in chosen:
            contest.train(seconds)
        contest.translate()
    title = f"Speed on {experiment.name}, beside other toolkits"
    output = OUTPUT / f"peers-{experiment.name}"
    report(title, list(contest.figures()), conditions(), output, side_by_side=contest.side_by_side())


class Contest:
    """Measures us and the peers in turn."""

    def __init__(self, experiment: Experiment, peers: list[str], directory: Path) -> None:
        self.experiment, self.directory = experiment, directory
        self.pythons = {peer: python_of(peer, directory / "environments") for peer in peers}
        self.pieces: Pieces = write_pieces(experiment, directory / experiment.name)
        settings = overlay(experiment.params.model_dump(mode="json", by_alias=True), WORK)
        self.model, training = ModelSettings(**settings["model"]), TrainSettings(**settings["train"])
        if "opennmt" in peers:
            home = directory / experiment.name / "opennmt"
            self.opennmt = OpenNMT(self.pythons["opennmt"], home, self.pieces, self.model, training)
        self.precisions = [precision for precision in ceilings.precisions() if precision != "int8"]
        self.tokens: Speeds = {}
        self.memory: Speeds = {}
        self.sentences: dict[int, Speeds] = {beam_size: {} for beam_size in SEARCHES}

    def train(self, seconds: float) -> None:
        """Train with OpenNMT-py and with each of our number formats."""
        self._note("opennmt", self.opennmt.train(seconds))
        for precision in self.precisions:
            changed = {**WORK, "train": {**WORK["train"], "precision": precision}}
            output = self.directory / self.experiment.name / "ours"
            self._note(precision, train(self.experiment.build, output, self.experiment.params, changed, seconds, ROOT))

    def translate(self) -> None:
        """Translate the test set with all."""
        test = self.pieces.file("test", "source")
        count = len(test.read_text(encoding="utf-8").splitlines())
        for name, seconds in self._translation_seconds(test):
            for beam_size, taken in seconds.items():
                self.sentences[int(beam_size)].setdefault(name, []).append(count / taken)

    def figures(self) -> Iterator[Figure]:
        """Yield the speeds of all, and how many times as fast as each peer we are, turn by turn."""
        yield from self._compared("train", "target tokens/s", self.tokens, self.precisions)
        for name, values in self.memory.items():
            yield Figure(f"train, memory, {NAMES.get(name, f'ours, {name}')}", "GB", tuple(values))
        for beam_size, search in SEARCHES.items():
            yield from self._compared(f"translate, {search}", "sentences/s", self.sentences[beam_size], ["ours"])

    def side_by_side(self) -> Rows:
        """Return a table with a column for us, for each peer, and for the ratios."""
        rivals = [peer for peer in NAMES if peer in self.pythons]
        rows = [("", "ours", *(NAMES[peer] for peer in rivals), *(f"ours / {NAMES[peer]}" for peer in rivals))]

        def add(what: str, speeds: Speeds, mine: str, *, with_ratios: bool = True) -> None:
            ours, theirs = speeds.get(mine, []), [speeds.get(peer, []) for peer in rivals]
            ratios = [
                [our / its for our, its in zip(ours, values, strict=True)] if values and with_ratios else []
                for values in theirs
            ]
            rows.append((what, *map(_with_spread, (ours, *theirs, *ratios))))

        if self.tokens:
            for precision in self.precisions:
                add(f"training in {precision}, target tokens/s", self.tokens, precision)
            for precision in self.precisions:
                add(f"memory in training in {precision}, GB", self.memory, precision, with_ratios=False)
        for beam_size, search in SEARCHES.items():
            add(f"translating, {search}, sentences/s", self.sentences[beam_size], "ours")
        return rows

    def _note(self, name: str, speed: TrainingSpeed) -> None:
        self.tokens.setdefault(name, []).append(Figure("", "", speed.tokens_per_second).median)
        self.memory.setdefault(name, []).append(speed.peak_memory / 1e9)

    def _translation_seconds(self, test: Path) -> Iterator[tuple[str, Mapping[Any, float]]]:
        length, tokenizer = str(self.pieces.mean_target), self.experiment.artifact("tokenizer").directory
        sentences = self.directory / self.experiment.name / "test.txt"
        sentences.write_text("".join(f"{s}\n" for s in self.experiment.test_sources()), encoding="utf-8")
        settings = self.model.model_dump_json()
        ours = [sys.executable, "-m", "benchmarks.peers.untrained", str(tokenizer), settings, str(sentences), length]
        yield "ours", json.loads(_output(ours))
        if "opennmt" in self.pythons and "opennmt" in self.tokens:  # a training left a checkpoint
            yield "opennmt", {beam_size: self.opennmt.translate(beam_size) for beam_size in SEARCHES}
        if "ctranslate2" in self.pythons:
            vocabularies = [str(self.pieces.vocabulary(side)) for side in ("source", "target")]
            script, home = str(HERE / "ctranslate2_speed.py"), self.directory / self.experiment.name / "ctranslate2"
            python = str(self.pythons["ctranslate2"])
            command = [python, script, str(home), str(test), *vocabularies, length, DECODER_LAYERS]
            yield "ctranslate2", json.loads(_output(command))

    def _compared(self, what: str, unit: str, speeds: Speeds, ours: list[str]) -> Iterator[Figure]:
        for name, values in speeds.items():
            shown = NAMES.get(name, "ours" if name == "ours" else f"ours, {name}")
            yield Figure(f"{what}, {shown}", unit, tuple(values))
        for peer in (name for name in speeds if name in NAMES):
            for mine in ours:
                ratios = tuple(our / its for our, its in zip(speeds[mine], speeds[peer], strict=True))
                format_ = "" if mine == "ours" else f", {mine}"
                yield Figure(f"{what}{format_}: ours / {NAMES[peer]}", "times", ratios)


def _with_spread(values: list[float]) -> str:
    """Return the median, with the spread of several values: `14,300 (14,100 to 14,400)`; nothing for no values."""
    if not values:
        return ""
    figure = Figure("", "", tuple(values))
    spread = f" ({number(figure.spread[0])} to {number(figure.spread[1])})" if len(values) > 1 else ""
    return number(figure.median) + spread


def _output(command: list[str]) -> str:
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise UserError(f"{' '.join(command)} ended with status {run.returncode}:\n{run.stderr}")
    return run.stdout


if __name__ == "__main__":
    fail_clearly(main)
