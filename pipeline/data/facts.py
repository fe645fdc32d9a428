"""Define types for what the manifests of the corpus, the tokenizer and the encoded corpus record."""

from typing import Literal

from ..plumbing.facts import Facts, Part

Side = Literal["source", "target"]


class SourceFacts(Part):
    """A file, data set or package that pairs come from."""

    name: str
    version: str | None = None  # of a package
    revision: str | None = None  # of a data set: a commit
    licence: str
    sha256: str
    pairs: int  # in the corpus


class CorpusFacts(Facts):
    source_language: str
    target_language: str
    splits: dict[str, int]  # split -> pairs
    cut: dict[str, int]  # missing split -> pairs cut from train for it
    dropped: dict[str, int]  # rule -> pairs that it dropped
    sources: list[SourceFacts]

    @property
    def test_sets(self) -> dict[str, int]:
        """The number of pairs in each test set."""
        return {name: pairs for name, pairs in self.splits.items() if name not in ("train", "validation")}

    def dataset_name(self, split: str) -> str:
        """Return the name under which MLflow records a split: `en to de, test`."""
        return f"{self.source_language} to {self.target_language}, {split}"


class TokenizerFacts(Facts):
    vocabulary_size: int
    skipped: dict[Side, int]  # lines that SentencePiece skipped in training


class EncodedSplitFacts(Part):
    pairs: int
    too_long: int  # pairs left out, with a side of more than encode.max_tokens ids
    source_tokens: int
    target_tokens: int


class ShardFacts(Part):
    """A file with a part of the encoded training split."""

    name: str
    pairs: int
    bytes: int
    sha256: str


class EncodedFacts(Facts):
    train: EncodedSplitFacts
    validation: EncodedSplitFacts
    store: str | None = None  # URL of the directory with the shards; None: they are files of the artifact
    shards: list[ShardFacts] = []
