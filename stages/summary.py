"""Write and print the summary of an experiment: EVALUATION_MANIFEST REGISTERED_MANIFEST SUMMARY_FILE.

This is not a stage: it has no settings, and its output is no artifact.
"""

import fnmatch
import os
import sys
from pathlib import Path

from pipeline.plumbing.artifacts import experiment_option, open_artifact
from pipeline.plumbing.command import TARGETS, fail_clearly
from pipeline.registry.facts import RegisteredFacts
from pipeline.scoring.facts import EvaluationFacts, ScoredTestSet, SystemName

PICTURES = "*.attention.*.png"  # of the evaluation
SYSTEM_TITLES: dict[SystemName, str] = {
    "beam": "this model, beam",
    "greedy": "this model, greedy",
    "memory": "translation memory",
    "copy": "source copied",
}


def summary() -> None:
    evaluation, registered = (open_artifact(Path(a).parent, TARGETS[Path(a).parent.name]) for a in sys.argv[1:3])
    path = Path(sys.argv[3])
    facts = EvaluationFacts.of(evaluation), RegisteredFacts.of(registered)
    has_pictures = bool(fnmatch.filter(evaluation.files, PICTURES))
    text = "\n".join(summarise(*facts, path.parent.name, has_pictures))
    scratch = path.with_suffix(".tmp")
    scratch.write_text(text + "\n", encoding="utf-8")
    os.replace(scratch, path)
    print(text)


def summarise(
    evaluation: EvaluationFacts, registered: RegisteredFacts, experiment: str, has_pictures: bool
) -> list[str]:
    """Return the lines of the summary. `has_pictures`: whether the evaluation has pictures of attention."""
    lines = [""]
    for name, test_set in evaluation.test_sets.items():
        lines += [*_score_table(name, test_set), ""]
    lines += [f"{metric}: {signature}" for metric, signature in evaluation.signatures.items()]
    lines += ["", f"{len(evaluation.examples)} sentences of the test sets, chosen at random:"]
    for example in evaluation.examples:
        lines += ["", f"  source     {example.source}"]
        lines += [f"  reference  {example.reference}", f"  hypothesis {example.hypothesis}"]
    option = experiment_option(experiment)
    lines += ["", f"BLEU by sentence length: build/{experiment}/evaluation/bleu_by_length.png"]
    if has_pictures:
        lines += [f"Pictures of where the model looked: build/{experiment}/evaluation/{PICTURES}"]
        drawn = [f'  make attention{option} TEXT="..."']
    else:
        drawn = []
    if better := _better_baseline(evaluation):
        lines += [
            "",
            f"The model is not useful yet: a baseline, {better}, has the same or a higher BLEU. "
            "Use more text, or train longer.",
        ]
        advised = []
    else:
        advised = [f"  make review{option}".ljust(33) + "compare it with the champion, before make promote"]
    return [
        *lines,
        "",
        f"Registered as {registered.model_name} version {registered.version}. Next:",
        "",
        f'  make translate{option} TEXT="..."',
        *drawn,
        *advised,
        f"  make ui{option}".ljust(33) + "see curves, scores and models in MLflow",
        f"  make status{option}",
        "  make help",
    ]


def _better_baseline(evaluation: EvaluationFacts) -> str | None:
    """Return a baseline whose BLEU is as high as the model's on every test set; a review would fail such a model."""
    systems = [test_set.systems for test_set in evaluation.test_sets.values()]
    baselines: tuple[SystemName, ...] = ("memory", "copy")
    for baseline in baselines:
        if all(scores["beam"].bleu <= scores[baseline].bleu for scores in systems):
            return SYSTEM_TITLES[baseline]
    return None


def _score_table(name: str, test_set: ScoredTestSet) -> list[str]:
    lines = [f"{name} ({test_set.sentences:,} sentences)", f"  {'':20} {'BLEU':>6} {'chrF':>6}"]
    for system, title in SYSTEM_TITLES.items():
        scores = test_set.systems[system]
        lines.append(f"  {title:20} {scores.bleu:6.1f} {scores.chrf:6.1f}")
    return lines


if __name__ == "__main__":
    fail_clearly(summary)
