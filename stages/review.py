"""Compare a version with the champion and record the verdict in the registry: PARAMS_FILE... and $VERSION.

The exit status is 0 if the version passes, 1 if it fails or the test sets are too small to decide, and 2 if there is no
verdict.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Never

from mlflow.exceptions import MlflowException
from tqdm import tqdm

from pipeline.plumbing.command import BUILD, fail_clearly
from pipeline.plumbing.text_table import Rows, aligned
from pipeline.plumbing.tracking.record import user_name
from pipeline.plumbing.tracking.store import explain_failure, is_refusal
from pipeline.registry.sandbox.isolation import isolation
from pipeline.reviews import description as words
from pipeline.reviews.pages import Pages
from pipeline.reviews.registered_models import experiment_of
from pipeline.reviews.report import write_report
from pipeline.reviews.review import Review
from pipeline.reviews.reviewer import Finding, Reviewer
from stages.registry import Registry, asked_version, open_registry

NOT_PASSED = 1  # exit status


def review() -> None:
    version = asked_version()
    registry = open_registry()
    with explain_failure(registry.client.tracking_uri):
        registry.review_runs.check()
        reviewer = Reviewer(registry.models, registry.params.review, user_name())
        print(isolation(), file=sys.stderr)
        with tqdm(unit=" sentences", disable=None, desc="review") as bar:
            finding = reviewer.review(version, _counting(bar))
        print("\n".join(describe(finding)))
        print("\n".join(_keep(registry, finding)))
    if finding.review.verdict != "pass":
        sys.exit(NOT_PASSED)


def _counting(bar: "tqdm[Never]") -> Callable[[int], Callable[[int], object]]:
    def begin(total: int) -> Callable[[int], object]:
        bar.reset(total)
        return bar.update

    return begin


def _keep(registry: Registry, finding: Finding) -> list[str]:
    """Write the review to MLflow and its report to build/. Return lines that say where, and what to do next."""
    pages, candidate = Pages(registry.client.tracking_uri), finding.candidate
    report = write_report(finding.review, finding.maps, pages)
    recorded = registry.review_runs.keep(candidate, finding.champion, finding.review, report)
    told = []
    try:
        registry.review_runs.show(recorded, candidate)
    except MlflowException as error:
        if not is_refusal(error):
            raise
        told = [
            f"the page of version {candidate.version} does not show this review: {user_name()} may not write to "
            f"{candidate.name}"
        ]
    file = BUILD / "reviews" / registry.models.candidates / f"{candidate.version}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(report, encoding="utf-8")
    run = registry.client.get_run(recorded.run_id).info
    links = [
        ("report", str(file)),
        ("version", pages.version(candidate.name, str(candidate.version))),
        ("run", pages.run(run.experiment_id, run.run_id)),
    ]
    advice, command = words.next_step(finding.review)
    return [
        *told,
        "",
        *aligned(links),
        *([] if pages.is_served else ["  (the pages of MLflow open while make ui runs)"]),
        "",
        advice,
        *([f"  {command}"] if command else []),
    ]


def describe(finding: Finding) -> list[str]:
    """Return the review in lines for a terminal. The verdict comes last."""
    review, experiment = finding.review, experiment_of(finding.candidate)
    against = f"the champion, version {finding.champion.version}" if finding.champion else "the best baseline"
    lines = [f"{review.candidate.name} version {review.candidate.version} (experiment {experiment}) against {against}"]
    for title, rows in _sections(finding):
        lines += ["", title, *aligned(rows)]
    lines += [f"  {name}: {words.leaks(review, name)}" for name in review.leaks.test_sets]
    lines += [f"  {name}: {count:,} blank pairs left out" for name, count in finding.blank.items() if count]
    if failure := review.failure:
        lines += ["", "The end of the candidate's output", *(f"  | {line}" for line in failure.said.splitlines())]
    lines += ["", *(f"warning: {warning}" for warning in words.warnings(review, str))]
    return [*lines, f"verdict: {review.verdict}. {words.verdict_sentence(review, str)}"]


def _sections(finding: Finding) -> Iterator[tuple[str, Rows]]:
    """Yield the title and the rows of each table."""
    review = finding.review
    if finding.champion:
        changes = [(change.what, change.champion, change.candidate) for change in review.changes]
        yield "What changed", [("", "champion", "candidate"), *(changes or [("nothing", "", "")])]
    yield (
        "Gates",
        [
            (gate.verdict, words.GATES[gate.name][0], words.gate_value(review, gate, str), words.gate_limit(gate))
            for gate in review.gates
        ],
    )
    yield "Scores", [("", "", "candidate", "opponent", "difference"), *_scores(review)]


def _scores(review: Review) -> Rows:
    return [
        (
            f"{comparison.test_set} ({comparison.sentences:,} sentences)",
            title,
            words.score(comparison, "candidate", metric),
            words.score(comparison, "opponent", metric),
            words.difference(comparison.differences[metric]),
        )
        for comparison in review.comparisons
        for metric, title in words.METRICS.items()
    ]


if __name__ == "__main__":
    fail_clearly(review)
