"""Compare a version with the champion and write the verdict into the registry: PARAMS_FILE... and $VERSION.

Status 0 if it passes; 1 if it fails, or the test sets are too small to tell; 2 if there is no verdict.
"""

import sys
from collections.abc import Callable
from typing import Never

from mlflow.exceptions import MlflowException
from tqdm import tqdm

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.tracking.record import user_name
from pipeline.plumbing.tracking.store import explain_failure, is_refusal
from pipeline.registry.sandbox.isolation import isolation
from pipeline.reviews import wording
from pipeline.reviews.registered_models import experiment_of
from pipeline.reviews.report import write_report
from pipeline.reviews.review import Review
from pipeline.reviews.reviewer import Finding, Reviewer
from stages.registry import BUILD, Registry, asked_version, open_registry

FAILED = 1


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
        _keep(registry, finding)
    if finding.review.verdict != "pass":
        sys.exit(FAILED)


def _counting(bar: "tqdm[Never]") -> Callable[[int], Callable[[int], object]]:
    def begin(total: int) -> Callable[[int], object]:
        bar.reset(total)
        return bar.update

    return begin


def _keep(registry: Registry, finding: Finding) -> None:
    """Put the review into MLflow, and its page into build/, where it can be opened at once."""
    report = write_report(finding.review, finding.maps)
    verdict = registry.review_runs.keep(finding.candidate, finding.champion, finding.review, report)
    try:
        registry.review_runs.show(verdict, finding.candidate)
    except MlflowException as error:
        if not is_refusal(error):
            raise
        number, model = finding.candidate.version, finding.candidate.name
        print(f"the page of version {number} does not show it: {user_name()} may not write to {model}")
    page = BUILD / "reviews" / registry.models.candidates / f"{finding.candidate.version}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(report, encoding="utf-8")
    print(f"report: {page}, and in run {verdict.run_id} of MLflow's experiment {registry.review_runs.experiment!r}")


def describe(finding: Finding) -> list[str]:
    review = finding.review
    of = f"of the experiment {experiment_of(finding.candidate)}"
    against = f"the champion, version {finding.champion.version}" if finding.champion else "the best baseline"
    lines = [f"{review.candidate.name} version {review.candidate.version}, {of}, against {against}"]
    for comparison in review.comparisons:
        bleu, chrf = (comparison.differences[metric].points for metric in ("bleu", "chrf"))
        scores = comparison.scores["candidate"]
        blank = finding.blank[comparison.test_set]
        left_out = f"; {blank:,} blank pairs left out" if blank else ""
        lines.append(
            f"  {comparison.test_set} ({comparison.sentences:,}{left_out}), against {comparison.opponent}: "
            f"BLEU {scores.bleu:.1f} ({bleu:+.1f}), chrF {scores.chrf:.1f} ({chrf:+.1f})"
        )
    if failure := review.failure:
        lines += [f"  in a fresh process {failure.reason}", *(f"  | {line}" for line in failure.said.splitlines())]
    lines += [f"  {name}: {wording.leaks(review, name)}" for name in review.leaks.test_sets]
    lines += [f"  warning: {warning}" for warning in wording.warnings(review, str)]
    return [*lines, *_gates(review), wording.verdict(review, str), f"verdict: {review.verdict}"]


def _gates(review: Review) -> list[str]:
    return [
        f"  {gate.name:16} {'-' if gate.value is None else f'{gate.value:.4g}':>8}  threshold {gate.threshold:<6g} "
        f"{gate.verdict}{'' if gate.required else ' (not required)'}"
        for gate in review.gates
    ]


if __name__ == "__main__":
    fail_clearly(review)
