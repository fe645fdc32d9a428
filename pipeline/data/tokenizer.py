"""Turn text into token ids and back with SentencePiece; train its models; define the special ids.

Text is brought into normal form first, and SentencePiece does not change it further. So decode(encode(text)) equals
normal_form(text) for every text. Characters that the vocabulary lacks are encoded as bytes.

Source: Kudo and Richardson 2018 (arXiv 1808.06226); unigram model: Kudo 2018 (arXiv 1804.10959).
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import sentencepiece

from ..plumbing.errors import UserError
from ..plumbing.params import TokenizerSettings
from .text import normal_form

PAD, UNK, BOS, EOS = range(4)
JOINT, SOURCE, TARGET = "joint.model", "source.model", "target.model"
MAX_LINE_BYTES = 4192  # SentencePiece silently skips longer lines in training
RESERVED = "\u2585"  # SentencePiece also skips lines with this character, which it uses itself
THREADS = 4  # changes the result: another number of threads gives another model
# SentencePiece writes a space as ▁ and cannot tell it from a ▁ in the text. So a ▁ in the text is replaced by U+2028,
# which is white space and therefore never occurs in normal form.
META_SPACE, META_SPACE_IN_TEXT = "\u2581", "\u2028"


def count_skipped(lines: Iterable[str]) -> int:
    """Return how many lines SentencePiece skips in training: too long in bytes, or with its reserved character."""
    return sum(len(line.encode()) > MAX_LINE_BYTES or RESERVED in line for line in map(_to_sentencepiece, lines))


def train_model(lines: Iterable[str], settings: TokenizerSettings) -> bytes:
    """Train one SentencePiece model and return its bytes; the same lines and settings give the same bytes.

    Raise UserError if the vocabulary is too large or too small for the text.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=map(_to_sentencepiece, lines),
            model_writer=model,
            model_type=settings.type,
            vocab_size=settings.vocabulary_size,
            character_coverage=settings.character_coverage,
            byte_fallback=True,
            normalization_rule_name="identity",  # the default, NFKC, would turn m² into m2
            remove_extra_whitespaces=False,
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
            f"tokenizer.vocabulary_size: got {settings.vocabulary_size}, which does not fit this corpus; "
            f"SentencePiece says: {_reason(error)}"
        ) from None
    return model.getvalue()


def _reason(error: RuntimeError) -> str:
    """Return SentencePiece's message. It begins with a place in SentencePiece's source code, which is removed."""
    return str(error).rsplit("] ", 1)[-1].strip() or str(error)


def _to_sentencepiece(text: str) -> str:
    return normal_form(text).replace(META_SPACE, META_SPACE_IN_TEXT)


def _from_sentencepiece(text: str) -> str:
    return text.replace(META_SPACE_IN_TEXT, META_SPACE)


@dataclass(frozen=True)
class Tokenizer:
    """The SentencePiece models of source and target. If they are joint, both are the same object."""

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
        """Return the ids of each sentence, with EOS at the end."""
        return _encode(self.source, sentences)

    def source_spans(self, sentence: str) -> list[tuple[int, int]]:
        """Return (begin, end) of each id's piece, as character positions in the sentence's normal form, without EOS."""
        text = _to_sentencepiece(sentence)
        places = {0: 0}  # SentencePiece counts bytes: byte at which a character ends -> number of characters so far
        for count, end in enumerate(accumulate(len(character.encode()) for character in text), 1):
            places[end] = count
        return [(places[p.begin], places[p.end]) for p in self.source.encode(text, return_type="proto").pieces]

    def encode_target(self, sentences: list[str]) -> list[list[int]]:
        """Return the ids of each sentence, with EOS at the end. The decoder reads them shifted right by BOS."""
        return _encode(self.target, sentences)

    def decode_target(self, ids: list[list[int]]) -> list[str]:
        """Return the detokenised text of each list of ids, in normal form. Special ids are ignored."""
        texts = self.target.decode([[i for i in sentence if i > EOS] for sentence in ids], num_threads=1)
        return [normal_form(_from_sentencepiece(text)) for text in texts]

    def source_pieces(self, ids: list[int]) -> list[str]:
        """Return the readable pieces of the ids of a source."""
        return [_from_sentencepiece(self.source.id_to_piece(i)) for i in ids]

    def target_pieces(self, ids: list[int]) -> list[str]:
        """Return the readable pieces of the ids of a target."""
        return [_from_sentencepiece(self.target.id_to_piece(i)) for i in ids]


def model_files(directory: Path) -> list[Path]:
    """Return the SentencePiece models in a directory: a joint one, or one for each side."""
    return sorted(directory.glob("*.model"))


def _encode(model: sentencepiece.SentencePieceProcessor, sentences: list[str]) -> list[list[int]]:
    texts = list(map(_to_sentencepiece, sentences))
    ids: list[list[int]] = model.encode(texts, add_eos=True, num_threads=1)
    return ids


def _load(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
