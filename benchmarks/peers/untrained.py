"""Measure our translation as the peers' is measured: TOKENIZER_DIRECTORY MODEL_SETTINGS SENTENCES_FILE PIECES

The network has random weights, and each translation has exactly PIECES pieces. Print JSON: beam size -> seconds.
"""

import json
import sys
import time
from inspect import signature
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from pipeline.data.tokenizer import EOS, Tokenizer
from pipeline.plumbing.params import ModelSettings
from pipeline.seq2seq.model import Seq2Seq
from pipeline.seq2seq.search import Hypothesis, search
from pipeline.seq2seq.translator import Translator

LIMITS = list(signature(search).parameters).index("limits")


def main() -> None:
    tokenizer = Tokenizer.load(Path(sys.argv[1]))
    settings = ModelSettings.model_validate_json(sys.argv[2])
    sentences = [line for line in Path(sys.argv[3]).read_text(encoding="utf-8").split("\n") if line]
    torch.manual_seed(0)
    model = Seq2Seq(settings, tokenizer.source.vocab_size(), tokenizer.target.vocab_size()).eval()
    with torch.no_grad():
        model.output.bias[EOS] = -1e9
    pieces = int(sys.argv[4])
    translator = Translator(model, tokenizer)

    def forced(*arguments: Any) -> list[list[Hypothesis]]:
        changed = list(arguments)
        changed[LIMITS] = [pieces] * len(arguments[LIMITS])
        return search(*changed)

    found = {}
    with patch("pipeline.seq2seq.translator.search", forced):
        for beam_size in (1, 5):
            translator.translate(sentences[:100], beam_size)  # to warm up
            start = time.perf_counter()
            translations = translator.translate(sentences, beam_size)
            found[beam_size] = time.perf_counter() - start
            assert all(len(translation.tokens) == pieces for translation in translations)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
