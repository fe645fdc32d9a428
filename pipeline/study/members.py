"""Open the experiments that a study compares: each member of the model family, trained on the same data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ..data.splits import read_split
from ..experiments.evaluated import Evaluated, open_evaluated
from ..plumbing.errors import UserError
from ..plumbing.params import EvaluateSettings, ModelSettings, TrainSettings
from ..plumbing.params_file import read_params
from ..scoring.facts import SystemScores
from ..seq2seq.model import Seq2Seq
from ..seq2seq.translator import Translator


@dataclass(frozen=True, eq=False)
class Member:
    """A trained member of the family."""

    name: str  # of its file in experiments/
    evaluated: Evaluated

    @cached_property
    def settings(self) -> ModelSettings:
        return ModelSettings(**self.evaluated.artifacts["model"].stamp["params"]["model"])

    @cached_property
    def search(self) -> EvaluateSettings:
        """The settings of the search that made the scores."""
        return EvaluateSettings(**self.evaluated.evaluation.stamp["params"]["evaluate"])

    @cached_property
    def translator(self) -> Translator:
        return Translator.load(self.evaluated.artifacts["model"].directory, torch.device("cpu"))

    @property
    def model(self) -> Seq2Seq:
        return self.translator.model

    @property
    def attends(self) -> bool:
        return self.settings.attention != "none"

    def scores(self, test_set: str) -> SystemScores:
        """Return the scores of beam search on a test set."""
        return self.evaluated.test_sets[test_set].systems["beam"]

    def translate(self, sentences: list[str]) -> list[str]:
        """Translate with the search that made the scores."""
        found = self.translator.translate(sentences, self.search.beam_size, self.search.length_penalty)
        return [translation.text for translation in found]


@dataclass(frozen=True)
class Family:
    """The members of a study. All have the same data, so they have the same test set."""

    members: Sequence[Member]

    @property
    def first(self) -> Member:
        return self.members[0]

    @cached_property
    def attentive(self) -> Member:
        """The member that stands for attention: the first that has it."""
        return next(member for member in self.members if member.attends)

    @cached_property
    def fixed(self) -> Member:
        """The member that stands for one fixed vector: the first without attention."""
        return next(member for member in self.members if not member.attends)

    @cached_property
    def vectors(self) -> list[Member]:
        """The members that differ from `fixed` only in the size of the vector, from the smallest to the largest."""
        size = {"hidden_size": self.fixed.settings.hidden_size}
        alike = [m for m in self.members if m.settings.model_copy(update=size) == self.fixed.settings]
        return sorted(alike, key=lambda member: member.settings.hidden_size)

    @cached_property
    def test_set(self) -> str:
        """The name of the first test set."""
        return next(iter(self.first.evaluated.test_sets))

    @cached_property
    def sentences(self) -> tuple[list[str], list[str]]:
        """The sources and references of the test set."""
        sources, references = read_split(self.first.evaluated.artifacts["corpus"].path(f"{self.test_set}.parquet"))
        return list(sources), list(references)

    @property
    def target_language(self) -> str:
        return self.first.evaluated.corpus_facts.target_language


def check_members(files: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Return the experiments of `names` that differ from those before them, laid over the settings in `files`.

    Raise UserError unless they can be compared: one without and one with attention, and all with the same data.
    """
    base = read_params(files)
    kinds: dict[tuple[ModelSettings, TrainSettings, EvaluateSettings], str] = {}
    for name in names:
        file = files[0].parent / "experiments" / f"{name}.yaml"
        if not file.is_file():
            raise UserError(f"study.experiments: got {name!r}, but there is no {file}")
        params = read_params([*files, file])
        for section in ("download", "tokenizer", "encode"):
            if getattr(params, section) != getattr(base, section):
                raise UserError(f"study.experiments: {name} changes the data; remove {section} from {file}")
        same = kinds.setdefault((params.model, params.train, params.evaluate), name)
        if same != name:
            print(f"study: {name} is the same as {same} here, so it is left out")
    attentions = {model.attention for model, _, _ in kinds}
    if "none" not in attentions or attentions == {"none"}:
        expected = "model.attention: none" if "none" not in attentions else "attention"
        raise UserError(f"study.experiments: got {', '.join(names)}, expected at least one with {expected}")
    return list(kinds.values())


def work(files: Sequence[Path], name: str) -> float:
    """Return about how long the training of a member takes, in units of no meaning, from its size."""
    params = read_params([*files, files[0].parent / "experiments" / f"{name}.yaml"])
    layers = params.model.encoder_layers + params.model.decoder_layers
    by_step = params.model.input_feeding or params.train.sampling_rate > 0
    return params.model.hidden_size**2 * layers * (2 if by_step else 1)


def open_family(build: Path, names: Sequence[str], data: str) -> Family:
    """Open the members `names`, each laid over the experiment `data`. Raise UserError if one was not evaluated."""
    family = Family([Member(name, open_evaluated(build, home_of(name, data))) for name in names])
    for kind in ("corpus", "tokenizer"):
        digests = {member.evaluated.artifacts[kind].digest for member in family.members}
        if len(digests) > 1:
            raise UserError(f"the members have different data; remove their {kind} and run: {study_command(data)}")
    return family


def study_command(data: str) -> str:
    """Return the command that makes the study over the experiment `data`."""
    return "make study" if data == "study" else f"make study EXP={data}"


def home_of(name: str, data: str) -> str:
    """Return the name of the experiment `name` laid over `data`."""
    return name if data == "default" else f"{name}@{data}"
