"""Translate text with the model in this folder, line by line: python translate.py < source.txt > target.txt

Needs onnxruntime, sentencepiece and numpy, and nothing else. README.md describes the folder.
"""

import argparse
import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime
import sentencepiece

BOS, EOS = 2, 3  # ids 0 to 3 are padding, unknown, begin and end of sentence


def normal_form(text: str) -> str:
    """Return the text in the model's normal form: Unicode's NFC, with one space for each run of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class Translator:
    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: as many as there are cores
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / name, options) for name in ("encoder.onnx", "decoder.onnx")
        )
        self.source, self.target = (
            sentencepiece.SentencePieceProcessor(model_file=str(folder / self.config[f"{side}_tokenizer"]))
            for side in ("source", "target")
        )

    def translate(self, sentence: str, beam_size: int | None = None, length_penalty: float | None = None) -> str:
        """Return the best translation. A beam size of 1 is greedy search. None stands for the value in config.json."""
        # SentencePiece writes a space as U+2581, so a U+2581 in the text is replaced by U+2028.
        ids = [*self.source.encode(normal_form(sentence).replace("\u2581", "\u2028")), EOS]
        if len(ids) == 1:
            return ""
        penalty = self.config["length_penalty"] if length_penalty is None else length_penalty
        found = self.search(ids, beam_size or self.config["beam_size"], penalty)
        return normal_form(self.target.decode([i for i in found if i > EOS]).replace("\u2028", "\u2581"))

    def search(self, source: list[int], beam_size: int, length_penalty: float) -> list[int]:
        """Return the target ids with the best log-probability / length ** length_penalty, by beam search."""
        names = [output.name for output in self.encoder.get_outputs()]
        encoded = self.encoder.run(None, {"source": np.array([source]), "lengths": np.array([len(source)])})
        rows = {name: np.repeat(value, beam_size, axis=0) for name, value in zip(names, encoded, strict=True)}
        scores = np.array([0.0] + [-np.inf] * (beam_size - 1), dtype=np.float32)  # all begin with the same token
        tokens = np.full(beam_size, BOS)
        beams: list[list[int]] = [[]] * beam_size
        ended: list[tuple[bool, float, list[int]]] = []  # (is cut at the limit, -score, ids); the smallest is the best
        limit = 2 * len(source) + 10
        for length in range(1, limit + 1):
            log_probabilities, _attention, *states = self.decoder.run(None, rows | {"tokens": tokens[:, None]})
            totals = (scores[:, None] + log_probabilities).ravel()
            best = np.argpartition(-totals, beam_size)[:beam_size]
            best = best[np.argsort(-totals[best], kind="stable")]
            scores, (parents, tokens) = totals[best], np.divmod(best, log_probabilities.shape[1])
            beams = [[*beams[parent], int(token)] for parent, token in zip(parents, tokens, strict=True)]
            rows |= {f"state_{i}": state[parents] for i, state in enumerate(states)}
            for k in np.flatnonzero(np.isfinite(scores) & ((tokens == EOS) | (length == limit))):
                ended.append((bool(tokens[k] != EOS), -float(scores[k]) / length**length_penalty, beams[k]))
                scores[k] = -np.inf
            ended = sorted(ended)[:beam_size]
            still_open = scores.max() / length**length_penalty
            if still_open == -np.inf or (len(ended) == beam_size and still_open <= -ended[0][1]):
                break
        return ended[0][2]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Translate standard input, line by line, to standard output.")
    parser.add_argument("--beam-size", type=int, choices=range(1, 33), metavar="N", help="1 to 32; 1 is greedy")
    parser.add_argument("--length-penalty", type=float, help="0 prefers short translations")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    options = parser.parse_args()
    translator = Translator(Path(__file__).parent, options.threads)
    for line in sys.stdin.buffer:
        translation = translator.translate(line.decode("utf-8"), options.beam_size, options.length_penalty)
        sys.stdout.buffer.write(translation.encode("utf-8") + b"\n")
        sys.stdout.buffer.flush()
