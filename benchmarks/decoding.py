"""Measure the speed of translation in this process: MODEL_DIRECTORY SENTENCES_FILE REPEATS.

Print JSON: for each beam size, the seconds that all sentences took in each repeat, and the seconds that each of some
short sentences took alone. It imports the project from PYTHONPATH, so that it can measure another revision.
"""

import json
import resource
import sys
import time
from pathlib import Path

BEAMS = (1, 5)
SINGLE = 30  # short sentences that are translated one at a time


def main(directory: Path, sentences: list[str], repeats: int) -> None:
    from pipeline.seq2seq.translator import Translator

    translator = Translator.load(directory)
    short = sorted(sentences, key=len)[len(sentences) // 3 :][:SINGLE]
    found: dict[str, dict[str, list[float]]] = {}
    for beam_size in BEAMS:

        def seconds(those: list[str], beam_size: int = beam_size) -> float:
            start = time.perf_counter()
            translator.translate(those, beam_size)
            return time.perf_counter() - start

        seconds(sentences[:100])  # to warm up
        found[str(beam_size)] = {
            "all": [seconds(sentences) for _ in range(repeats)],
            "single": [seconds([sentence]) for sentence in short],
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"beams": found, "peak_memory": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8").split("\n")[:-1], int(sys.argv[3]))
