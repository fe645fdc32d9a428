"""Compare an exported model with the model: BUILD_DIRECTORY. Print the number of equal translations, and times.

make EXP=name evaluate export && OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.export build/name

Run it with one thread, as above.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pipeline.export.translate import Translator as Exported
from pipeline.seq2seq.translator import Translator

RUNS, TIMED = 5, 200  # sentences that are timed
BEAMS = (1, 5)


def main(build: Path) -> None:
    model, exported = Translator.load(build / "model"), Exported(build / "export", threads=1)
    sources = {
        path.name.removesuffix(".source.txt"): path.read_text(encoding="utf-8").split("\n")[:-1]
        for path in sorted((build / "evaluation").glob("*.source.txt"))
    }
    for name, sentences in sources.items():
        for beam_size in BEAMS:
            expected = [translation.text for translation in model.translate(sentences, beam_size)]
            found = [exported.translate(sentence, beam_size) for sentence in sentences]
            equal = sum(mine == its for mine, its in zip(found, expected, strict=True))
            print(f"{name}, beam {beam_size}: {equal:,} of {len(sentences):,} translations are equal")
    sentences = [sentence for lines in sources.values() for sentence in lines][:TIMED]
    for beam_size in BEAMS:
        ways: dict[str, Callable[[int], object]] = {
            "exported, one at a time": lambda k: [exported.translate(sentence, k) for sentence in sentences],
            "model, all together": lambda k: model.translate(sentences, k),
            "model, one at a time": lambda k: [model.translate([sentence], k) for sentence in sentences],
        }
        for name, translate in ways.items():
            times = [seconds(translate, beam_size) for _ in range(RUNS)]
            print(f"{len(sentences)} sentences, beam {beam_size}, {name}: median of {RUNS}: {median(times):.2f} s")


def seconds(translate: Callable[[int], object], beam_size: int) -> float:
    start = time.perf_counter()
    translate(beam_size)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(Path(sys.argv[1]))
