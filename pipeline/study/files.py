"""Write the numbers of a study: all of them as JSON, and a table for each figure as CSV."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .results import Results

JSON = "results.json"


def write_numbers(directory: Path, results: Results) -> None:
    """Write results.json and the tables into `directory`."""
    text = json.dumps(results.as_json(), ensure_ascii=False, indent=1, allow_nan=False)
    (directory / JSON).write_text(text + "\n", encoding="utf-8")
    for name, rows in tables(results).items():
        with open(directory / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0])) if rows else None
            if writer:
                writer.writeheader()
                writer.writerows(rows)


def tables(results: Results) -> Mapping[str, list[dict[str, Any]]]:
    """Return the rows of each table, by its name."""
    return {
        "members": list(_members(results)),
        "epochs": [
            {"member": row.member, "epoch": n, "minutes": round(e.minutes, 2), "bleu": e.bleu, "loss": e.loss,
             "attention_entropy": e.attention_entropy}
            for row in results.rows for n, e in enumerate(row.epochs, 1)
        ],
        "by_length": list(_lengths(results.by_length)),
        "joined_sentences": list(_lengths(results.joined)),
        "fixed_vectors": [
            {"member": s.member, "size": s.size, "bleu": s.bleu, "words_at_half": results.words_at_half[s.member]}
            for s in results.sizes
        ],
        "gradients": [
            {"member": member, "steps": norm.steps, "norm": norm.norm, "count": norm.count}
            for member, norms in results.gradients.items() for norm in norms
        ],
        "recurrences": [
            {"cell": cell, "weights": weights, "steps": norm.steps, "norm": norm.norm}
            for cell, kinds in results.recurrences.items() for weights, norms in kinds.items() for norm in norms
        ],
        "forcing": [
            {"member": member, "reads": reads, **vars(way)}
            for member, found in results.forcing.items()
            for reads, way in (("reference", found.teacher_forced), ("own words", found.free_running))
        ],
        "after_error": [
            {"member": member, "tokens_after": n, "free_running": own, "teacher_forced": taught}
            for member, found in results.forcing.items() for n, (own, taught) in enumerate(found.after_error, 1)
        ],
    }  # fmt: skip


def _members(results: Results) -> Iterable[dict[str, Any]]:
    for row in results.rows:
        yield {
            "member": row.member,
            "bleu": row.bleu,
            "chrf": row.chrf,
            "parameters": row.parameters,
            "training_minutes": round(row.training_minutes, 2),
            "training_tokens_per_second": row.tokens_per_second,
            "sentences_per_second": row.sentences_per_second,
            "minutes_to_fixed": row.minutes_to_fixed,
            "notebook_score": results.notebook[row.member].own,
            "notebook_score_unrelated": results.notebook[row.member].unrelated,
            "alignment_error_rate": results.alignment and results.alignment.members.get(row.member),
        }


def _lengths(scores: Mapping[str, list[Any]]) -> Iterable[dict[str, Any]]:
    for member, rows in scores.items():
        for row in rows:
            yield {
                "member": member,
                "words": row.words,
                "mean_words": round(row.mean_words, 2),
                "sentences": row.sentences,
                **{f"{metric}{end}": round(getattr(getattr(row, metric), part), 2)
                   for metric in ("bleu", "chrf") for part, end in (("value", ""), ("low", "_low"), ("high", "_high"))},
            }  # fmt: skip
