"""Run the training stage, and measure BLEU with a beam after each epoch: JSON ARGUMENTS_OF_STAGES.TRAIN...

JSON has `output` (a line is added to this file after each epoch: epoch, seconds, bleu), `highest` (training stops at
this BLEU), `beam_size` and `length_penalty`. The seconds begin with the first step. They leave out this measurement.
"""

import json
import os
import runpy
import signal
import sys
import time
from typing import Any
from unittest.mock import patch

from sacrebleu.metrics.bleu import BLEU

from pipeline.data.languages import tokeniser_for
from pipeline.seq2seq.decoding import translate_all
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.translator import Translator
from pipeline.training.trainer import Log, Trainer
from pipeline.training.validation import Validation


def main() -> None:
    asked: dict[str, Any] = json.loads(sys.argv.pop(1))
    begun, measuring, epoch = 0.0, 0.0, 0
    fit, greedy_bleu = Trainer.fit, Validation.bleu

    def timed_fit(self: Trainer, log: Log) -> None:
        nonlocal begun
        begun = time.monotonic()
        fit(self, log)

    def bleu(self: Validation, model: Seq2Seq) -> float:
        nonlocal measuring, epoch
        found = greedy_bleu(self, model)
        now, epoch = time.monotonic(), epoch + 1
        with_beam = _beam_bleu(self, model, asked)
        line = {"epoch": epoch, "seconds": now - begun - measuring, "bleu": with_beam}
        with open(asked["output"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if with_beam >= asked["highest"]:
            os.kill(os.getpid(), signal.SIGTERM)
        measuring += time.monotonic() - now
        return found

    with patch.object(Trainer, "fit", timed_fit), patch.object(Validation, "bleu", bleu):
        runpy.run_module("stages.train", run_name="__main__", alter_sys=True)


def _beam_bleu(validation: Validation, model: Seq2Seq, asked: dict[str, Any]) -> float:
    translator = Translator(model, validation.tokenizer)
    translations = translate_all(
        translator, validation.sources, validation.accelerator, asked["beam_size"], asked["length_penalty"]
    )
    metric = BLEU(tokenize=tokeniser_for(validation.target_language))
    return float(metric.corpus_score([t.text for t in translations], [validation.references]).score)


if __name__ == "__main__":
    main()
