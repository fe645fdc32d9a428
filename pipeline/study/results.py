"""Measure everything that the page of a study shows."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..plumbing.params import StudySettings
from ..plumbing.tracking.journal import JOURNAL, read_journal
from ..scoring.facts import EvaluationExecution
from ..training.facts import ModelExecution
from .alignment import Agreement, agreement
from .beam import Tree, tree
from .forcing import Forcing, forcing
from .gradients import Norm, by_distance, recurrences
from .lengths import LengthScore, by_length, joined, words_at_half
from .members import Family, Member
from .notebook import NotebookScore, notebook_score
from .walk import Sentence, sentences

TREES = 3  # sentences whose search is shown


@dataclass(frozen=True)
class Epoch:
    """The state of a training after an epoch, on the validation split."""

    minutes: float  # of training and validation; an epoch takes the same share of it as any other
    bleu: float
    loss: float  # nats for each token
    attention_entropy: float | None  # nats; None for a fixed vector


@dataclass(frozen=True)
class Row:
    """A member's scores and what it costs."""

    member: str
    settings: dict[str, str]  # those that differ from the first member's
    attends: bool
    hidden_size: int
    sampling_rate: float  # of scheduled sampling, at the end of training
    bleu: float
    bleu_interval: tuple[float, float]
    chrf: float
    chrf_interval: tuple[float, float]
    parameters: int
    training_minutes: float  # with validation
    tokens_per_second: float  # target tokens, in training
    sentences_per_second: float  # by the evaluation's beam search
    minutes_to_fixed: float | None  # until the validation BLEU was as high as that of the fixed vector at its best
    epochs: list[Epoch]


@dataclass(frozen=True)
class Size:
    """A fixed vector of some size."""

    member: str
    size: int
    bleu: float
    bleu_interval: tuple[float, float]


@dataclass(frozen=True)
class Results:
    """All numbers of a study."""

    data: str  # the name of the experiment under the members
    test_set: str
    sentences: int
    source_language: str
    target_language: str
    fixed: str  # the member that stands for a fixed vector
    attentive: str  # the member that stands for attention
    rows: list[Row]
    by_length: dict[str, list[LengthScore]]  # by member
    joined: dict[str, list[LengthScore]]  # by member: those of `sizes`, and the attentive one
    words_at_half: dict[str, float | None]  # of the same members, when sentences are joined
    sizes: list[Size]
    gradients: dict[str, list[Norm]]  # by member: fixed and attentive
    recurrences: Mapping[str, Mapping[str, list[Norm]]]  # cell -> untrained, trained -> norms
    walks: list[Sentence]
    trees: list[Tree]
    forcing: dict[str, Forcing]  # by member
    notebook: dict[str, NotebookScore]  # by member
    alignment: Agreement | None  # None if the aligner is not installed
    machine: dict[str, Any]  # on which the first member was trained

    def as_json(self) -> dict[str, Any]:
        """Return the results as the content of a JSON object."""
        return asdict(self)


def measure(family: Family, data: str, settings: StudySettings, report: Callable[[str], None]) -> Results:
    """Measure everything. `report` gets a line before each part, because this takes minutes."""
    fixed, attentive = family.fixed, family.attentive
    report("scores by length")
    lengths = {m.name: by_length(family, m.evaluated.lines(family.test_set, "beam")) for m in family.members}
    joins = {}
    for member in dict.fromkeys([*family.vectors, attentive]):
        report(f"joined sentences, {member.name}")
        joins[member.name] = joined(family, member)
    report("gradients")
    gradients = {member.name: by_distance(family, member) for member in (fixed, attentive)}
    through = recurrences(family)
    report("inside the translations")
    shown = [member for member in family.members if member.name in settings.walk] or [attentive]
    walks = sentences(family, shown, settings.seed)
    trees = [tree(attentive, walk.source) for walk in walks[-TREES:]]
    forced, notebook = {}, {}
    for member in family.members:
        report(f"teacher forcing, {member.name}")
        forced[member.name] = forcing(family, member)
        notebook[member.name] = notebook_score(family, member)
    report("links of a statistical aligner")
    alignment = agreement(family)
    facts = family.first.evaluated.corpus_facts
    return Results(
        data=data,
        test_set=family.test_set,
        sentences=len(family.sentences[0]),
        source_language=facts.source_language,
        target_language=facts.target_language,
        fixed=fixed.name,
        attentive=attentive.name,
        rows=[_row(family, member) for member in family.members],
        by_length=lengths,
        joined=joins,
        words_at_half={name: words_at_half(rows) for name, rows in joins.items()},
        sizes=[_size(family, member) for member in family.vectors],
        gradients=gradients,
        recurrences=through,
        walks=walks,
        trees=trees,
        forcing=forced,
        notebook=notebook,
        alignment=alignment,
        machine=family.first.evaluated.artifacts["model"].manifest.made_with.get("machine", {}),
    )


def _row(family: Family, member: Member) -> Row:
    scores, model = member.scores(family.test_set), member.evaluated.artifacts["model"]
    execution = ModelExecution.of(model)
    timing = EvaluationExecution.of(member.evaluated.evaluation).timing[family.test_set]["beam"]
    epochs, goal = _epochs(member), max(epoch.bleu for epoch in _epochs(family.fixed))
    first = family.first.evaluated.settings
    return Row(
        member=member.name,
        settings={k: v for k, v in member.evaluated.settings.items() if first.get(k) != v},
        attends=member.attends,
        hidden_size=member.settings.hidden_size,
        sampling_rate=model.stamp["params"]["train"]["sampling_rate"],
        bleu=scores.bleu,
        bleu_interval=scores.bleu_interval,
        chrf=scores.chrf,
        chrf_interval=scores.chrf_interval,
        parameters=member.evaluated.model_facts.parameters,
        training_minutes=execution.seconds / 60,
        tokens_per_second=execution.tokens_per_second,
        sentences_per_second=timing.sentences_per_second,
        minutes_to_fixed=next((epoch.minutes for epoch in epochs if epoch.bleu >= goal), None),
        epochs=epochs,
    )


def _epochs(member: Member) -> list[Epoch]:
    """Read the journal of a training."""
    model = member.evaluated.artifacts["model"]
    entries = [entry.metrics for entry in read_journal(model.path(JOURNAL)) if "dev/bleu" in entry.metrics]
    minutes = ModelExecution.of(model).seconds / 60 / max(1, len(entries))
    return [
        Epoch(number * minutes, found["dev/bleu"], found["dev/loss"], found.get("dev/attention_entropy"))
        for number, found in enumerate(entries, 1)
    ]


def _size(family: Family, member: Member) -> Size:
    scores = member.scores(family.test_set)
    return Size(member.name, member.settings.hidden_size, scores.bleu, scores.bleu_interval)
