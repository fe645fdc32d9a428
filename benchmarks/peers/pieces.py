"""Write an encoded corpus as the peers read it: pieces separated by spaces, one sentence a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.encoded_shards import EncodedShards
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
    encoded = experiment.artifact("encoded")
    shards = EncodedShards(encoded)
    splits = {
        "train": [shards.open(number) for number in range(len(shards.counts))],
        "validation": [open_split(encoded.path("validation.arrow"))],
    }
    tokenizer = Tokenizer.load(experiment.artifact("tokenizer").directory)
    pieces = Pieces(directory, experiment.shape(1).target)
    for side, model in (("source", tokenizer.source), ("target", tokenizer.target)):
        names = [model.id_to_piece(i) for i in range(model.vocab_size())]
        _write(pieces.vocabulary(side), names[SPECIAL:])
        for split, parts in splits.items():
            _write(pieces.file(split, side), (line for part in parts for line in _lines(getattr(part, side), names)))
    encoded_tests = tokenizer.encode_source(experiment.test_sources())
    _write(pieces.file("test", "source"), (" ".join(tokenizer.source.id_to_piece(ids[:-1])) for ids in encoded_tests))
    return pieces


def _lines(sentences: EncodedSide, names: list[str]) -> Iterator[str]:
    for row in range(len(sentences.lengths)):
        yield " ".join(names[i] for i in sentences.sentence(row) if i >= SPECIAL)


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
