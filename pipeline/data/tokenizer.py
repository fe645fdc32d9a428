"""Owns text <-> token ids: training SentencePiece models, the special ids, encoding and decoding.

Source: Kudo and Richardson 2018 (arXiv 1808.06226); unigram model: Kudo 2018 (arXiv 1804.10959).
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from ..plumbing.errors import UserError
from ..plumbing.params import TokenizerSettings

PAD, UNK, BOS, EOS = range(4)
JOINT, SOURCE, TARGET = "joint.model", "source.model", "target.model"
MAX_LINE_BYTES = 4192  # SentencePiece leaves longer lines out of training, silently
THREADS = 4  # part of the result: another number gives another model


def count_skipped(lines: Iterable[str]) -> int:
    """How many lines SentencePiece leaves out of training for their length in bytes."""
    return sum(len(line.encode()) > MAX_LINE_BYTES for line in lines)


def train_model(lines: Iterable[str], settings: TokenizerSettings) -> bytes:
    """Train one SentencePiece model and return its bytes; the same lines and settings give the same bytes.

    Raises UserError when the text cannot carry the vocabulary.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=settings.type,
            vocab_size=settings.vocabulary_size,
            character_coverage=settings.character_coverage,
            byte_fallback=True,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            num_threads=THREADS,
            max_sentence_length=MAX_LINE_BYTES,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"tokenizer.vocabulary_size: got {settings.vocabulary_size}, which this corpus cannot carry; "
            f"SentencePiece says: {_reason(error)}"
        ) from None
    return model.getvalue()


def _reason(error: RuntimeError) -> str:
    """The sentence for people in SentencePiece's message, which begins with a place in its source."""
    return str(error).rsplit("] ", 1)[-1].strip() or str(error)


@dataclass(frozen=True)
class Tokenizer:
    """The SentencePiece models of both sides; the same object twice when they are joint."""

    source: sentencepiece.SentencePieceProcessor
    target: sentencepiece.SentencePieceProcessor

    @classmethod
    def load(cls, directory: Path) -> "Tokenizer":
        """Load `joint.model`, or `source.model` and `target.model`, from a directory."""
        if (directory / JOINT).exists():
            joint = _load(directory / JOINT)
            return cls(joint, joint)
        return cls(_load(directory / SOURCE), _load(directory / TARGET))

    def encode_source(self, sentences: list[str]) -> list[list[int]]:
        """Ids of each sentence, closed by EOS."""
        return [[*ids, EOS] for ids in self.source.encode(sentences, num_threads=1)]

    def encode_target(self, sentences: list[str]) -> list[list[int]]:
        """Ids of each sentence, closed by EOS; the decoder's input is the same shifted right by a BOS."""
        return [[*ids, EOS] for ids in self.target.encode(sentences, num_threads=1)]

    def decode_target(self, ids: list[list[int]]) -> list[str]:
        """Detokenised text of each list of ids; special ids vanish."""
        return list(self.target.decode([[i for i in sentence if i > EOS] for sentence in ids], num_threads=1))


def model_files(directory: Path) -> list[Path]:
    """The SentencePiece models in a directory: one joint, or one a side."""
    return sorted(directory.glob("*.model"))


def _load(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
