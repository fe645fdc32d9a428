"""Owns what a review knows of the two that it compares, besides what they translate. Measures nothing itself."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Speed:
    """Translating a test set on the machine of the review."""

    sentences_per_second: float  # in batches
    latency_p50_ms: float  # of single sentences
    latency_p99_ms: float


@dataclass(frozen=True)
class Subject:
    """A model version, or a baseline: then `version` is None, and so is all that a baseline does not have."""

    name: str  # the registered model's, or the baseline's
    version: str | None
    source_language: str
    target_language: str
    digests: Mapping[str, str]  # corpus, model, package files: what it is of -> sha256
    commit: str | None
    parameters: int | None
    size_bytes: int | None  # of the package
    speed: Speed | None
    unknown_pieces: Mapping[str, float]  # test set -> share of the sources' pieces that the tokenizer does not know

    @property
    def is_baseline(self) -> bool:
        return self.version is None
