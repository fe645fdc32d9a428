"""Each gate judges the worst value over all test sets by its threshold."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params import GateSettings
from pipeline.plumbing.params_file import read_params
from pipeline.reviews.bootstrap import Difference
from pipeline.reviews.comparison import Comparison, Speed, System
from pipeline.reviews.gates import Gate, judge, judge_all
from tests.reviews import BASELINE, CANDIDATE, CHAMPION, better, make_leaks

SETTINGS = GateSettings()
COMPARISON = better()


def gate(
    name: str,
    *comparisons: Comparison,
    settings: GateSettings = SETTINGS,
    candidate: System = CANDIDATE,
    opponent: System = CHAMPION,
    leaked: Mapping[str, int] | None = None,
) -> Gate:
    """Return one gate of a review. No test set leaks unless `leaked` names it."""
    compared = comparisons or (COMPARISON,)
    leaks = make_leaks(compared, leaked)
    return next(g for g in judge(settings, compared, candidate, opponent, leaks) if g.name == name)


def changed(metric: str, points: float, reach: float | None, name: str = "test") -> Comparison:
    """Return the comparison with another difference, and with limits at a distance of `reach` from it."""
    limits = None if reach is None else (points - reach, points + reach)
    differences = dict(COMPARISON.differences) | {metric: Difference(points, 0.95, limits, reach and reach / 1.645)}
    return replace(COMPARISON, test_set=name, differences=differences)


def test_every_gate_is_listed_in_the_order_of_the_settings() -> None:
    gates = judge(SETTINGS, [COMPARISON], CANDIDATE, CHAMPION, make_leaks([COMPARISON]))
    assert [gate.name for gate in gates] == list(GateSettings.model_fields)
    assert judge_all(gates) == "pass"
    assert [gate.name for gate in judge(SETTINGS, [], BASELINE, BASELINE, make_leaks([]))] == list(
        GateSettings.model_fields
    )


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_the_value_of_a_loss_is_its_upper_limit_on_the_worst_test_set(metric: str) -> None:
    worst = gate(f"{metric}_drop", changed(metric, 3.0, 0.2), changed(metric, -0.75, 0.3, "other"))
    assert worst.value == pytest.approx(1.05)
    assert worst.verdict == "fail"
    assert gate(f"{metric}_drop", changed(metric, -0.75, 0.25)).verdict == "pass"
    assert gate(f"{metric}_drop", changed(metric, 2.0, 0.5)).value == -1.5


def test_an_inconclusive_gate_tells_how_many_sentences_are_needed() -> None:
    unsure = gate("bleu_drop", changed("bleu", 0.0, 1.645), changed("bleu", 0.0, 0.1, "large"))
    assert (unsure.verdict, unsure.value) == ("inconclusive", 1.645)
    assert unsure.needed == {"test": 619}  # 100 times (1.645 + 0.842) squared
    assert unsure.blocks


def test_a_negative_margin_requires_a_gain() -> None:
    settings = GateSettings.model_validate({"bleu_drop": {"margin": -1, "level": 0.95, "required": True}})
    assert gate("bleu_drop", changed("bleu", 1.5, 0.6), settings=settings).verdict == "fail"
    assert gate("bleu_drop", changed("bleu", 1.5, 0.4), settings=settings).verdict == "pass"


@pytest.mark.parametrize("name", ["bleu_drop", "chrf_drop"])
def test_against_a_baseline_nothing_may_be_lost(name: str) -> None:
    metric = name.removesuffix("_drop")
    for points, reach, verdict in ((-0.5, 0.3, "fail"), (0.5, 0.6, "fail"), (0.5, 0.4, "pass")):
        found = changed(metric, points, reach)
        first = gate(name, found, opponent=BASELINE)
        assert (first.verdict, first.threshold) == (verdict, 0)
        assert gate(name, found).verdict == "pass"  # a champion's successor
    settings = GateSettings.model_validate({name: {"margin": -1, "level": 0.95, "required": True}})
    assert gate(name, changed(metric, 0.5, 0.4), settings=settings, opponent=BASELINE).verdict == "fail"


def test_a_test_set_that_could_not_be_compared_leaves_its_losses_missing() -> None:
    leaks = make_leaks([COMPARISON, replace(COMPARISON, test_set="leaked")])
    gates = {gate.name: gate for gate in judge(SETTINGS, [COMPARISON], CANDIDATE, CHAMPION, leaks)}
    assert [gates[name].verdict for name in ("bleu_drop", "chrf_drop")] == ["missing", "missing"]


def test_ratios_divide_the_candidate_by_the_champion() -> None:
    slow = replace(CANDIDATE, speed=Speed(400.0, 16.0, 17.0), size_bytes=11_000_000)
    assert (gate("latency_ratio", candidate=slow).value, gate("latency_ratio", candidate=slow).verdict) == (1.6, "fail")
    assert (gate("size_ratio", candidate=slow).value, gate("size_ratio", candidate=slow).verdict) == (2.2, "fail")


def test_without_a_champion_ratios_do_not_apply_and_the_review_may_pass() -> None:
    gates = {gate.name: gate for gate in judge(SETTINGS, [COMPARISON], CANDIDATE, BASELINE, make_leaks([COMPARISON]))}
    for name in ("latency_ratio", "size_ratio"):
        assert (gates[name].value, gates[name].verdict) == (None, "does not apply")
    assert judge_all(gates.values()) == "pass"


@pytest.mark.parametrize("fault", ["empty", "copied", "looping"])
def test_only_the_faults_of_the_candidate_count(fault: str) -> None:
    faults = dict(COMPARISON.faults)
    faults["candidate"] = replace(faults["candidate"], **{fault: 0.3})
    faults["opponent"] = replace(faults["opponent"], **{fault: 0.6})
    bad = gate(f"{fault}_outputs", COMPARISON, replace(COMPARISON, test_set="other", faults=faults))
    assert (bad.value, bad.verdict) == (0.3, "fail")


def test_one_leaked_sentence_fails() -> None:
    leak = gate("leak", COMPARISON, replace(COMPARISON, test_set="other"), leaked={"test": 0, "other": 1})
    assert (leak.value, leak.verdict) == (1, "fail")


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("latency_ratio", {"candidate": replace(CANDIDATE, speed=None)}),
        ("latency_ratio", {"opponent": replace(CHAMPION, speed=Speed(1.0, 0.0, 0.0))}),
        ("latency_ratio", {"candidate": replace(CANDIDATE, speed=Speed(1.0, math.nan, 1.0))}),
        ("size_ratio", {"opponent": replace(CHAMPION, size_bytes=None)}),
        ("unknown_pieces", {"candidate": replace(CANDIDATE, unknown_pieces={})}),
        ("unknown_pieces", {"candidate": replace(CANDIDATE, unknown_pieces={"test": math.nan})}),
        ("leak", {"leaks": make_leaks([COMPARISON], checked=["opponent"])}),
        ("leak", {"leaks": replace(make_leaks([COMPARISON]), counts={"candidate": {"other": 0}})}),
        ("bleu_drop", {"comparisons": []}),
        ("bleu_drop", {"comparisons": [changed("bleu", math.nan, 0.5), COMPARISON]}),
        ("bleu_drop", {"comparisons": [COMPARISON, changed("bleu", math.nan, 0.5)]}),
        ("empty_outputs", {"comparisons": []}),
    ],
)
def test_what_was_not_measured_fails_a_required_gate_and_warns_otherwise(name: str, without: dict[str, Any]) -> None:
    for required in (True, False):
        setting = getattr(SETTINGS, name).model_dump()
        settings = GateSettings.model_validate({name: setting | {"required": required}})
        given: dict[str, Any] = {
            "comparisons": [COMPARISON],
            "candidate": CANDIDATE,
            "opponent": CHAMPION,
            "leaks": make_leaks([COMPARISON]),
        }
        missing = next(g for g in judge(settings, **(given | dict(without))) if g.name == name)
        assert (missing.value, missing.verdict) == (None, "missing")
        assert not missing.holds
        assert missing.blocks == required
        assert judge_all([missing]) == ("fail" if required else "pass")


def test_a_gate_that_is_not_required_does_not_fail_the_review() -> None:
    failed = Gate("latency_ratio", 3.0, 1.5, required=False, verdict="fail")
    assert judge_all([failed]) == "pass"
    assert judge_all([failed, replace(failed, required=True)]) == "fail"


def test_a_review_is_inconclusive_only_if_no_gate_fails() -> None:
    unsure = Gate("bleu_drop", 1.5, 1.0, required=True, verdict="inconclusive", needed={"test": 2000})
    assert judge_all([unsure, replace(unsure, verdict="pass")]) == "inconclusive"
    assert judge_all([unsure, replace(unsure, verdict="fail")]) == "fail"
    assert judge_all([unsure, replace(unsure, verdict="missing")]) == "fail"
    assert judge_all([replace(unsure, required=False)]) == "pass"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "gates: {bleu_drop: {margin: much, level: 0.95, required: true}}",
            "gates.bleu_drop.margin: got 'much', expected a number",
        ),
        (
            "gates: {bleu_drop: {margin: 1, level: 0.95}}",
            "gates.bleu_drop.required: is missing, expected true or false",
        ),
        (
            "gates: {leak: {threshold: 0.5, required: true}}",
            "gates.leak.threshold: got 0.5, expected a whole number >= 0",
        ),
        (
            "gates: {chrf_drop: {margin: 1, level: 95, required: true}}",
            "gates.chrf_drop.level: got 95, expected a number > 0.5 and <= 0.99",
        ),
        (
            "gates: {bleu_drop: {margin: 1, level: 0.999, required: true}}",
            "gates.bleu_drop.level: got 0.999, expected a number > 0.5 and <= 0.99",
        ),
        (
            "gates: {size_ratio: {threshold: 0, required: true}}",
            "gates.size_ratio.threshold: got 0, expected a number > 0",
        ),
        ("gates: {blue_drop: {threshold: 1}}", "gates.blue_drop: no such setting; did you mean bleu_drop?"),
        ("production_model: a/b", "production_model: got 'a/b', expected text that matches ^[\\w{}. -]+$ or null"),
        (
            "test_sets: {news: 5}",
            "test_sets.news: got 5, expected text or settings below it, indented (put it in quotes)",
        ),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str, told: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"download: {{source: wheels, source_language: en, target_language: de}}\nreview:\n  {setting}\n")
    with pytest.raises(UserError) as caught:
        read_params([path])
    assert str(caught.value) == f"{path}: review.{told}"
