"""Write the pages of a model in Markdown: the model card, its short form, and the page of the registered model.

MLflow's pages show the short form and the page of the registered model. The results of a review are described in
reviews/description.py. Texts of the corpus and names of sources come from outside. They are written in code spans, in
which nothing is markup.
"""

import re

from ..data.facts import CorpusFacts, SourceFacts
from ..plumbing.artifacts import Artifact
from ..scoring.facts import EvaluationFacts, Interval, SystemName
from ..training.facts import ModelExecution, ModelFacts

NBSP = "\N{NO-BREAK SPACE}"  # at the end of cells, and between a number and its unit
DESCRIPTION_CHARACTERS = 4800  # MLflow's databases accept 5000, and a link to the report is added
CARD_SYSTEMS: dict[SystemName, str] = {
    "beam": "**this model, beam**",
    "greedy": "this model, greedy",
    "memory": "translation memory",
    "copy": "copy of the source",
}
CARD_EXAMPLES = 3
CARD_SOURCES = 6


def write_short_card(corpus: Artifact, model: Artifact, evaluation: Artifact, commit: str | None) -> str:
    """Return the short form: what the model is, scores beside the baselines', training, data, examples.

    The most important part comes first. MLflow's table shows the first words as plain text, so they have no markup.
    """
    sections = [
        _title(corpus, model, evaluation),
        _scores(evaluation),
        _training(model, commit),
        _data(corpus, CARD_SOURCES),
        _examples(evaluation),
    ]
    while len("\n\n".join(sections)) > DESCRIPTION_CHARACTERS:
        sections.pop()
    return "\n\n".join(sections) + "\n"


def write_card(corpus: Artifact, model: Artifact, evaluation: Artifact, commit: str | None) -> str:
    """Return the model card (Mitchell et al. 2019, arXiv 1810.03993), with the intended use and the limits."""
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


def write_model_page(name: str, option: str) -> str:
    """Return the page of a registered model: how to review a version, promote it, roll back and load it.

    `option` is the ` EXP=name` of the commands, or an empty string.
    """
    commands = {
        "review a version: compare it with the champion": f"make review VERSION=n{option}",
        "make it the champion": f'make promote VERSION=n REASON="..."{option}',
        "go back to the previous champion": f'make rollback REASON="..."{option}',
        "list versions, verdicts and champions": f"make versions{option}",
        "serve the champion over HTTP": f"make serve{option}",
    }
    rows = "\n".join(table_row(aim, f"`{command}`") for aim, command in commands.items())
    return f"""\
Each version below is a translator that was trained and registered. A version's page begins with the verdict of its \
review, or with its scores if it was not reviewed yet.

{table_row("to", "type")}
| --- | --- |
{rows}

To load a version in Python: `mlflow.pyfunc.load_model("models:/{name}/n").predict(["a sentence"])`. The champion is \
`models:/{name}@champion`, once there is one.

Decide with these commands, not with the alias editor on this page. They check the review and the files, and they \
record who decided and why.
"""


def short_score(evaluation: Artifact) -> str:
    """Return BLEU on the first test set, with its 95 % interval: `12.3 [11.0, 13.5]`."""
    facts = EvaluationFacts.of(evaluation)
    name, results = next(iter(facts.test_sets.items()))
    scores, which = results.systems["beam"], f" on {name}" if len(facts.test_sets) > 1 else ""
    return f"{_with_interval(scores.bleu, scores.bleu_interval)}{which}"


def code_span(text: str, longest: int = 160) -> str:
    """Return a text from outside as a code span in one line. Backticks in it cannot end the span. Long text is cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table_row(*cells: str) -> str:
    """Return a row of a table. MLflow's page puts no space between columns, so each cell ends with some."""
    return f"| {' | '.join(cell.replace('|', '¦') + 2 * NBSP for cell in cells)} |"


def _title(corpus: Artifact, model: Artifact, evaluation: Artifact) -> str:
    languages, settings = CorpusFacts.of(corpus), model.stamp["params"]["model"]
    decoding = evaluation.stamp["params"]["evaluate"]
    return (
        f"Translates {languages.source_language} to {languages.target_language}: "
        f"attention encoder-decoder ({settings['cell'].upper()}, {settings['attention']} attention, "
        f"{ModelFacts.of(model).parameters / 1e6:.1f} million parameters), beam {decoding['beam_size']} "
        f"with length penalty {decoding['length_penalty']} unless a request says otherwise."
    )


def _intended_use(corpus: Artifact) -> str:
    return (
        "### Intended use\n\nDraft translations of single sentences that resemble the training data (below). A "
        "person should check them. Not intended for text on which health, rights or money depend, for other kinds "
        f"of text, or for other languages than {CorpusFacts.of(corpus).source_language}."
    )


def _limits(corpus: Artifact) -> str:
    pairs = CorpusFacts.of(corpus).splits["train"]
    return (
        "### Limits\n\n"
        f"- It was trained on {pairs:,} sentence pairs and knows no word beyond them.\n"
        "- It translates each sentence alone, without the sentences before and after.\n"
        "- It can omit, repeat or invent words, above all in long sentences. The scores are averages.\n"
        "- It repeats the preferences of its training data (forms of address, gender, spelling); these were not "
        "measured."
    )


def _scores(evaluation: Artifact) -> str:
    lines = [
        "### Scores on held-out text",
        "",
        table_row("test set", "system", "BLEU", "chrF2"),
        "| --- | --- | --- | --- |",
    ]
    facts = EvaluationFacts.of(evaluation)
    for name, test_set in facts.test_sets.items():
        for system, title in CARD_SYSTEMS.items():
            scores = test_set.systems[system]
            bleu = _with_interval(scores.bleu, scores.bleu_interval)
            chrf = _with_interval(scores.chrf, scores.chrf_interval)
            lines.append(table_row(f"{name} ({test_set.sentences:,})", title, bleu, chrf))
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
        f"{execution.tokens_per_second:,.0f} target tokens per second, "
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
    for example in EvaluationFacts.of(evaluation).examples[:CARD_EXAMPLES]:
        lines += ["", f"- source: {code_span(example.source)}"]
        lines += [f"- reference: {code_span(example.reference)}", f"- hypothesis: {code_span(example.hypothesis)}"]
    return "\n".join(lines)
