"""Decode several cases together with other processes, and write the results.

accelerate launch ... -m tests.decode_together MODEL_DIRECTORY CASES.json OUTPUT_DIRECTORY
"""

import json
import sys
from pathlib import Path

from pipeline.plumbing.command import expected_processes
from pipeline.processes import join_processes
from pipeline.seq2seq.decoding import translate_all
from pipeline.seq2seq.translator import Translation, Translator

BEAM_SIZE, LENGTH_PENALTY = 3, 0.7


def bits(translation: Translation) -> list[object]:
    """Return a translation as JSON, with its floats to the last bit."""
    attention = [] if translation.attention is None else [w.hex() for w in translation.attention.ravel().tolist()]
    return [translation.text, translation.score.hex(), translation.tokens, translation.source_tokens, attention]


def main(model: Path, cases: Path, output: Path) -> None:
    accelerator = join_processes("fp32", expected_processes())
    translator = Translator.load(model, accelerator.device)
    found = {}
    for name, sentences in json.loads(cases.read_bytes()).items():
        advances: list[int] = []
        translations = translate_all(translator, sentences, accelerator, BEAM_SIZE, LENGTH_PENALTY, advances.append)
        found[name] = {"translations": [bits(translation) for translation in translations], "advances": advances}
    (output / f"{accelerator.process_index}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
