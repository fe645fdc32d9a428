"""Write an encoded corpus as the peers read it: pieces separated by spaces, one sentence a line."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.encoding import EncodedSide, open_split
from pipeline.data.tokenizer import EOS, Tokenizer

from ..experiment import Experiment

SPECIAL = EOS + 1  # ids below it are special, and the peers have their own


@dataclass(frozen=True)
class Pieces:
    """The files in a directory: `train`, `validation` and `test`, and the vocabularies, of both sides."""

    directory: Path
    mean_target: int  # pieces of a target sentence in the training split, EOS included

    def file(self, split: str, side: str) -> Path:
        return self.directory / f"{split}.{side}"

    def vocabulary(self, side: str) -> Path:
        """Return the file with the pieces of a side that are not special, one a line."""
        return self.file("vocabulary", side)


def write_pieces(experiment: Experiment, directory: Path) -> Pieces:
    """Write the corpus of an experiment to `directory`. The test set has only sources."""
    directory.mkdir(parents=True, exist_ok=True)
    encoded, tokenizer = experiment.artifact("encoded"), Tokenizer.load(experiment.artifact("tokenizer").directory)
    pieces = Pieces(directory, experiment.shape(1).target)
    for side, model in (("source", tokenizer.source), ("target", tokenizer.target)):
        names = [model.id_to_piece(i) for i in range(model.vocab_size())]
        _write(pieces.vocabulary(side), names[SPECIAL:])
        for split in ("train", "validation"):
            sentences: EncodedSide = getattr(open_split(encoded.path(f"{split}.arrow")), side)
            count = len(sentences.offsets) - 1
            lines = (" ".join(names[i] for i in sentences.sentence(row) if i >= SPECIAL) for row in range(count))
            _write(pieces.file(split, side), lines)
    encoded_tests = tokenizer.encode_source(experiment.test_sources())
    _write(pieces.file("test", "source"), (" ".join(tokenizer.source.id_to_piece(ids[:-1])) for ids in encoded_tests))
    return pieces


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
