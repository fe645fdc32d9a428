"""Owns what a model says of itself, in Markdown: its card, and the short form that MLflow's interface shows.

What a review finds is told elsewhere (see reviews/description.py). Text of the corpus and names of sources come from
outside: they stand in code spans, where nothing is markup.
"""

import re

from ..data.facts import CorpusFacts, SourceFacts
from ..plumbing.artifacts import Artifact
from ..scoring.facts import EvaluationFacts, Interval, SystemName
from ..training.facts import ModelExecution, ModelFacts

LONGEST = 4800  # characters; MLflow's databases take 5000, and a link to the report follows
SYSTEMS: dict[SystemName, str] = {
    "beam": "**this model, beam**",
    "greedy": "this model, greedy",
    "memory": "translation memory",
    "copy": "copy of the source",
}
EXAMPLES = 3
SOURCES = 6


def write_short_card(corpus: Artifact, model: Artifact, evaluation: Artifact, commit: str | None) -> str:
    """What the model is, its scores beside the baselines', its training, its data and examples: by importance."""
    sections = [
        _title(corpus, model, evaluation),
        _scores(evaluation),
        _training(model, commit),
        _data(corpus, SOURCES),
        _examples(evaluation),
    ]
    while len("\n\n".join(sections)) > LONGEST:
        sections.pop()
    return "\n\n".join(sections) + "\n"


def write_card(corpus: Artifact, model: Artifact, evaluation: Artifact, commit: str | None) -> str:
    """The model card (Mitchell et al. 2019, arXiv 1810.03993): also what the model is for, and its limits."""
    sections = [
        "# Model card",
        _title(corpus, model, evaluation),
        _intended_use(corpus),
        _scores(evaluation),
        _limits(corpus),
        _training(model, commit),
        "Energy: not measured.",
        _data(corpus, len(CorpusFacts.of(corpus).sources)),
        _examples(evaluation),
    ]
    return "\n\n".join(sections) + "\n"


def code_span(text: str, longest: int = 160) -> str:
    """One line of foreign text as a code span that its own backticks cannot end; long text is cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _title(corpus: Artifact, model: Artifact, evaluation: Artifact) -> str:
    languages, settings = CorpusFacts.of(corpus), model.stamp["params"]["model"]
    decoding = evaluation.stamp["params"]["evaluate"]
    return (
        f"Translates {code_span(languages.source_language)} to {code_span(languages.target_language)}: "
        f"attention encoder-decoder ({settings['cell'].upper()}, {settings['attention']} attention, "
        f"{ModelFacts.of(model).parameters / 1e6:.1f} million parameters), beam {decoding['beam_size']} "
        f"with length penalty {decoding['length_penalty']} unless a request says otherwise."
    )


def _intended_use(corpus: Artifact) -> str:
    return (
        "### Intended use\n\nDrafts of translations of single sentences that are like its training data (below), for a "
        "person to check. Not for text on which health, rights or money depend, and not for other kinds of text or "
        f"other languages than {code_span(CorpusFacts.of(corpus).source_language)}."
    )


def _limits(corpus: Artifact) -> str:
    pairs = CorpusFacts.of(corpus).splits["train"]
    return (
        "### Limits\n\n"
        f"- It has read {pairs:,} training pairs, and knows no word and no matter beyond them.\n"
        "- Each sentence is translated by itself: nothing before or after it is taken into account.\n"
        "- It can leave out, repeat or invent words, most of all in long sentences; scores tell of averages.\n"
        "- What the training data prefer (forms of address, gender, spelling) it prefers too; this was not measured."
    )


def _scores(evaluation: Artifact) -> str:
    lines = ["### Scores on held-out text", "", "| test set | system | BLEU | chrF2 |", "| --- | --- | --- | --- |"]
    facts = EvaluationFacts.of(evaluation)
    for name, test_set in facts.test_sets.items():
        for system, title in SYSTEMS.items():
            scores = test_set.systems[system]
            bleu = _with_interval(scores.bleu, scores.bleu_interval)
            figures = f"{bleu} | {_with_interval(scores.chrf, scores.chrf_interval)}"
            lines.append(f"| {name} ({test_set.sentences:,}) | {title} | {figures} |")
    signatures = " · ".join(map(code_span, facts.signatures.values()))
    lines += ["", f"In brackets: 95 % intervals. {signatures}"]
    return "\n".join(lines)


def _with_interval(score: float, interval: Interval) -> str:
    low, high = interval
    return f"{score:.1f} [{low:.1f}, {high:.1f}]"


def _training(model: Artifact, commit: str | None) -> str:
    facts, execution, params = ModelFacts.of(model), ModelExecution.of(model), model.stamp["params"]
    settings = ", ".join(f"{key} {value}" for section in params.values() for key, value in section.items())
    return (
        f"### Training\n\n{facts.epochs} epochs ({facts.steps:,} steps, best epoch {facts.best_epoch}) "
        f"in {execution.seconds / 60:.1f} minutes, "
        f"{execution.tokens_per_second:,.0f} target tokens a second, "
        f"{facts.precision}; validation loss {facts.validation_loss:.4f}.\n\n"
        f"Settings: {code_span(settings, longest=900)}\n\n"
        f"Commit {code_span(commit or 'not under git')}, model artifact {code_span(model.digest)}"
    )


def _data(corpus: Artifact, shown: int) -> str:
    facts = CorpusFacts.of(corpus)
    splits = ", ".join(f"{name} {pairs:,}" for name, pairs in facts.splits.items())
    sources = sorted(facts.sources, key=lambda source: -source.pairs)
    lines = ["### Data", "", f"Pairs: {splits}. Corpus artifact {code_span(corpus.digest)}", ""]
    lines += [f"- {', '.join(_source(source))}" for source in sources[:shown]]
    if others := sources[shown:]:
        lines.append(f"- and {len(others)} smaller sources; all are in the run's artifact manifests/corpus.json")
    return "\n".join(lines)


def _source(source: SourceFacts) -> list[str]:
    return [f"{key} {code_span(str(value), longest=72)}" for key, value in source if value is not None]


def _examples(evaluation: Artifact) -> str:
    lines = ["### Examples, drawn at random"]
    for example in EvaluationFacts.of(evaluation).examples[:EXAMPLES]:
        lines += ["", f"- source: {code_span(example.source)}"]
        lines += [f"- reference: {code_span(example.reference)}", f"- hypothesis: {code_span(example.hypothesis)}"]
    return "\n".join(lines)
