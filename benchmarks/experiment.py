"""What is measured: an experiment whose stages have run."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.facts import CorpusFacts, EncodedFacts, TokenizerFacts
from pipeline.data.splits import read_split
from pipeline.plumbing.artifacts import Artifact, open_artifact
from pipeline.plumbing.command import TARGETS
from pipeline.plumbing.params import Params

from .arithmetic import Shape

TO_TRAIN = ("corpus", "tokenizer", "encoded")  # the artifacts that a training reads
TO_DECODE = (*TO_TRAIN, "model")


@dataclass(frozen=True)
class Experiment:
    """The settings and the artifacts of an experiment."""

    build: Path
    params: Params

    @property
    def name(self) -> str:
        return self.build.name

    def artifact(self, name: str) -> Artifact:
        return open_artifact(self.build / name, TARGETS[name])

    def check(self, artifacts: Iterable[str]) -> None:
        """Raise UserError unless the artifacts with these names are complete."""
        for name in artifacts:
            self.artifact(name)

    @property
    def vocabulary(self) -> int:
        return TokenizerFacts.of(self.artifact("tokenizer")).vocabulary_size

    def shape(self, tokens: int) -> Shape:
        """Return the shape of a batch of about `tokens` target tokens with the mean lengths of the training pairs."""
        facts = EncodedFacts.of(self.artifact("encoded")).train
        source, target = facts.source_tokens / facts.pairs, facts.target_tokens / facts.pairs
        return Shape(max(1, round(tokens / target)), round(source), round(target))

    def test_sources(self) -> list[str]:
        """Return the sources of the first test set."""
        corpus = self.artifact("corpus")
        sentences, _ = read_split(corpus.path(f"{next(iter(CorpusFacts.of(corpus).test_sets))}.parquet"))
        return sentences
