"""Train and translate with OpenNMT-py: a network of the same size, on the same pieces, in batches of as many tokens."""

import re
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import ModelSettings, TrainSettings

from ..training import WARM_UP, TrainingSpeed, wait_for
from .pieces import Pieces

COMMAND = Path(__file__).with_name("opennmt_command.py")
REPORT_EVERY = 2  # updates
REPORT = re.compile(r"Step \d+/.* (\d+)/ *(\d+) tok/s")  # source and target tokens a second
SCORES = {"dot": "dot", "general": "general", "additive": "mlp"}
BATCHES = {1: 256, 5: 64}  # beam size -> sentences in a batch with which it translates fastest


class OpenNMT:
    """OpenNMT-py in a directory, with a vocabulary and the settings of the network and of training."""

    def __init__(
        self, python: Path, directory: Path, pieces: Pieces, model: ModelSettings, train: TrainSettings
    ) -> None:
        self.python, self.directory, self.pieces = python, directory, pieces
        directory.mkdir(parents=True, exist_ok=True)
        for side in ("source", "target"):
            lines = pieces.vocabulary(side).read_text(encoding="utf-8").splitlines()
            counted = "".join(f"{piece}\t1\n" for piece in lines)
            (directory / f"vocabulary.{side}").write_text(counted, encoding="utf-8")
        (directory / "train.yaml").write_text(yaml.safe_dump(self._config(model, train)), encoding="utf-8")

    def train(self, seconds: float) -> TrainingSpeed:
        """Train for about `seconds` after the first report. Return the target tokens per second of its reports."""
        command = [str(self.python), str(COMMAND), "train", "-config", str(self.directory / "train.yaml")]
        lines: list[str] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            timer = threading.Timer(seconds, process.terminate)
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                if REPORT.search(line) and not timer.ident:  # the first report
                    timer.start()
            timer.cancel()
            peak = wait_for(process)
        speeds = tuple(float(found[2]) for found in map(REPORT.search, lines) if found)
        if len(speeds) <= WARM_UP:
            raise UserError(f"OpenNMT-py made {len(speeds)} reports in {seconds:g} s, too few:\n{''.join(lines[-5:])}")
        return TrainingSpeed(speeds[WARM_UP:], peak)

    def translate(self, beam_size: int) -> float:
        """Translate the test set, each sentence to the mean number of target pieces. Return the seconds it reports.

        The network is the one of the last training, with the weights of its last checkpoint.
        """
        length = str(self.pieces.mean_target)
        checkpoints = sorted(self.directory.glob("model_step_*.pt"), key=lambda path: path.stat().st_mtime)
        options: Mapping[str, str] = {
            "-model": str(checkpoints[-1]),
            "-src": str(self.pieces.file("test", "source")),
            "-output": str(self.directory / "translations.txt"),
            "-beam_size": str(beam_size),
            "-batch_size": str(BATCHES[beam_size]),
            "-min_length": length,
            "-max_length": length,
        }
        command = [str(self.python), str(COMMAND), "translate", "-report_time"]
        command += [word for option in options.items() for word in option]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.search(r"Total translation time \(s\): ([\d.]+)", run.stdout + run.stderr)
        if run.returncode or not found:
            raise UserError(f"OpenNMT-py could not translate:\n{run.stderr}")
        return float(found[1])

    def _config(self, model: ModelSettings, train: TrainSettings) -> dict[str, Any]:
        data = {
            name: {
                "path_src": str(self.pieces.file(split, "source")),
                "path_tgt": str(self.pieces.file(split, "target")),
                "transforms": [],
            }
            for name, split in (("corpus", "train"), ("valid", "validation"))
        }
        return {
            "save_data": str(self.directory / "data"),
            "save_model": str(self.directory / "model"),
            "src_vocab": str(self.directory / "vocabulary.source"),
            "tgt_vocab": str(self.directory / "vocabulary.target"),
            "data": data,
            "model_task": "seq2seq",
            "encoder_type": "brnn",
            "decoder_type": "rnn",
            "rnn_type": model.cell.upper(),
            "enc_layers": model.encoder_layers,
            "dec_layers": model.decoder_layers,
            "word_vec_size": model.embedding_size,
            "hidden_size": model.hidden_size,
            "enc_hid_size": model.hidden_size,
            "dec_hid_size": model.hidden_size,
            "global_attention": SCORES[model.attention],
            "input_feed": 1,  # its default
            "bridge": True,
            "dropout": [model.dropout],
            "optim": "adam",
            "learning_rate": train.learning_rate,
            "max_grad_norm": train.gradient_clip,
            "batch_type": "tokens",
            "batch_size": train.batch_tokens,
            "normalization": "tokens",
            "bucket_size": 100_000,  # pairs that are sorted by length together
            "num_workers": 0,
            "train_steps": 1_000_000,
            "valid_steps": 1_000_000,
            "save_checkpoint_steps": 5 * REPORT_EVERY,
            "keep_checkpoint": 1,
            "report_every": REPORT_EVERY,
            "seed": train.seed,
            "world_size": 1,
            "gpu_ranks": [],
        }
