"""A review in words, and the description of the reviewed version, which has foreign text in code spans only."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.registry.card import NBSP
from pipeline.reviews.bootstrap import Difference
from pipeline.reviews.comparison import Change, Comparison
from pipeline.reviews.description import gate_limit, gate_value, next_step, verdict_sentence, warnings
from pipeline.reviews.measurement import TooLong
from pipeline.reviews.review import Failure, Review
from pipeline.reviews.test_sets import Origin
from pipeline.reviews.version_changes import VersionChange
from tests.reviews import BASELINE, CANDIDATE, CARD, CHAMPION, better, description, make_leaks, make_review, report

LIMIT = 5000
TEXTS = st.text(st.one_of(st.sampled_from("`|<>*_#[]()!\\\n\r\u202eab "), st.characters()), max_size=300)


def differing(points: float, reach: float, name: str = "test") -> Comparison:
    found = Difference(points, 0.95, (points - reach, points + reach), reach / 1.645)
    return replace(better(), test_set=name, differences=dict.fromkeys(better().differences, found))


def with_foreign_text(text: str, test_sets: int = 1) -> Review:
    """A review in which `text` stands wherever text of others may, but in the card, which quotes its own."""
    change = Change(1, text, text, text, text, 10.0)
    comparison = replace(better(), opponent=text, gains=[change] * 20, losses=[change] * 20)
    comparisons = [replace(comparison, test_set=f"{text}{n}") for n in range(test_sets)]
    digests = {f"{text}{n}": text for n in range(9)}
    candidate, opponent = (replace(side, name=text, digests=digests, commit=text) for side in (CANDIDATE, CHAMPION))
    review = make_review(comparisons, candidate, opponent)
    changes = [VersionChange(text, text, text)] * 9
    made = replace(review.provenance, time=text, reviewer=text, commit=text, isolation=text)
    return replace(review, provenance=made, changes=changes)


def tables(text: str) -> list[list[str]]:
    """The rows of each table, without what keeps the columns apart."""
    blocks = text.replace(2 * NBSP, "").split("\n\n")
    return [block.splitlines() for block in blocks if block.startswith("| ")]


def test_verdict_next_step_changes_gates_scores_and_card_stand_in_this_order() -> None:
    review = make_review([better()])
    text = description(review)
    parts = [
        "Review: pass. BLEU +",
        "Better than `translator-en-de` version 2: BLEU +",
        'To make it the champion, type: `make promote VERSION=3 REASON="BLEU +',
        "[The whole report](#/experiments/1/runs/2/artifacts/report.html)",
        "### What changed from version 2\n\n- `train.epochs`: `8` → `16`\n\n",
        "### Gates\n",
        "### Scores\n",
        "Reviewed `2026-01-02T03:04:05+00:00` by `jane`",
        f"## Model card\n\n{CARD}",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.endswith(CARD)
    gates, scores = tables(text)
    assert [row.split(" | ")[0] for row in gates[2:]] == ["| pass"] * len(review.gates)
    assert len(scores) == 4
    assert re.match(r"\| `test` \(100\) \| BLEU \| \d\d\.\d \[.*\] \| .* \| \+\d\d\.\d\d \[.*\] \|$", scores[2])


def test_the_first_line_is_plain_text_without_names_from_outside() -> None:
    for review in (make_review([better()]), make_review([better()], opponent=BASELINE), with_foreign_text("`[x](y)")):
        assert re.match(
            r"Review: (pass|fail)\. BLEU \+\d\d\.\d against (version 2|the best baseline)\.\n", description(review)
        )
    assert description(make_review([])).startswith("Review: fail. Nothing was compared.\n")


def test_a_gate_on_a_score_tells_the_difference_and_the_required_limit() -> None:
    def told(comparison: Comparison, margin: float = 1.0, required: bool = True) -> str:
        gates = {name: {"margin": margin, "level": 0.95, "required": required} for name in ("bleu_drop", "chrf_drop")}
        review = make_review([comparison], settings={"gates": gates})
        return f"{gate_value(review, review.gates[0], str)}; {gate_limit(review.gates[0])}"

    assert told(differing(11.63, 1.42)) == "+11.63 [10.21, 13.05]; required: not worse than −1.0"
    assert told(differing(-0.5, 0.25), 0.75, required=False) == "−0.50 [−0.75, −0.25]; expected: not worse than −0.75"
    assert told(differing(0.5, 0.25), 0.0) == "+0.50 [0.25, 0.75]; required: not worse than 0"
    assert told(differing(2.5, 0.25), -2.0) == "+2.50 [2.25, 2.75]; required: at least +2.0"
    few = replace(better(), differences=dict.fromkeys(better().differences, Difference(1.0, 0.95, None, None)))
    assert told(few) == "+1.00, too few sentences for confidence limits; required: not worse than −1.0"


def test_of_several_test_sets_a_gate_tells_the_worst_and_names_it() -> None:
    review = make_review([differing(5.0, 1.0), differing(1.0, 1.0, "news"), differing(9.0, 9.5, "long")])
    assert gate_value(review, review.gates[0], str) == "+9.00 [−0.50, 18.50] on long"


def test_what_is_measured_against_a_limit_has_its_unit() -> None:
    slow = replace(CANDIDATE, speed=replace(CHAMPION.speed, latency_p50_ms=16.0), size_bytes=None)  # type: ignore[type-var]
    review = make_review([better()], slow)
    told = {gate.name: f"{gate_value(review, gate, str)}; {gate_limit(gate)}" for gate in review.gates}
    assert told["latency_ratio"] == f"1.60{NBSP}×; expected: at most 1.50{NBSP}×"
    assert told["size_ratio"] == f"not measured; required: at most 2.00{NBSP}×"
    assert told["empty_outputs"] == f"0{NBSP}%; required: at most 0.5{NBSP}%"
    assert told["leak"] == "0; required: at most 0"
    first = make_review([better()], opponent=BASELINE)
    assert gate_value(first, next(gate for gate in first.gates if gate.name == "size_ratio"), str) == "–"


def test_a_failure_and_a_warning_say_why() -> None:
    review = make_review([better()], replace(CANDIDATE, speed=None), leaked={"test": 3})
    text = description(review).replace(2 * NBSP, "")
    assert (
        "It fails against `translator-en-de` version 2: leaked test sentences 3 (required: at most 0).\n\n"
        "Warning: latency: not measured; this gate is not required.\n"
    ) in text
    assert "| **fail** | leaked test sentences | 3 | required: at most 0 |" in text
    assert f"| **missing** | latency | not measured | expected: at most 1.50{NBSP}× |" in text
    assert (
        "`test`: 3 of 100 sentences left out: the candidate was trained on 3, the champion was trained on 0.\n" in text
    )


def test_too_small_test_sets_are_named_with_the_number_of_sentences_that_they_need() -> None:
    review = make_review([differing(0.0, 1.5)])
    assert review.verdict == "inconclusive"
    assert verdict_sentence(review, str).startswith(
        "The test sets are too small to compare it with translator-en-de version 2: BLEU 0.00 [−1.50, 1.50] (required: "
        f"not worse than −1.0); test needs 515 sentences, so that an equal candidate passes in 80{NBSP}% of the reviews"
    )


def test_worse_within_the_margin_is_only_said_if_the_gate_holds() -> None:
    gates = {name: {"margin": 1.0, "level": 0.95, "required": False} for name in ("bleu_drop", "chrf_drop")}
    for points, told in (
        (-0.5, "Worse on 1 of 1 test sets, but within the margin, than"),
        (-60.0, "Worse on 1 of 1 test sets than"),
    ):
        review = make_review([differing(points, 0.3)], settings={"gates": gates})
        assert review.verdict == "pass"
        assert verdict_sentence(review, str).startswith(told)


def test_the_next_step_is_a_command_ready_to_be_typed() -> None:
    passed, failed = make_review([differing(2.0, 1.0)]), make_review([differing(-9.0, 1.0)])
    unsure = make_review([differing(0.0, 1.5)])
    assert next_step(passed) == (
        "To make it the champion, type:",
        'make promote VERSION=3 REASON="BLEU +2.0 against version 2"',
    )
    assert next_step(failed)[1] == 'make promote VERSION=3 REASON="BLEU −9.0 against version 2" FORCE=1'
    assert next_step(unsure)[1] == "make review VERSION=3"
    assert next_step(replace(failed, failure=Failure("it ended", "")))[1] == ""
    elsewhere = replace(passed, provenance=replace(passed.provenance, experiment="smoke"))
    assert next_step(elsewhere)[1].endswith('" EXP=smoke')


def test_changes_are_listed_and_the_rest_counted() -> None:
    review = make_review([better()])
    many = replace(review, changes=[VersionChange(f"a.b{n}", "1", "2") for n in range(11)])
    assert "- `a.b7`: `1` → `2`\n- 3 more differences are in the report.\n\n### Gates" in description(many)
    commit = VersionChange("code commit", "12345678", "12345678 with local changes (the same code of training)")
    assert f"→ `{commit.candidate}`" in description(replace(review, changes=[commit]))
    same = replace(review, changes=[])
    assert "version 2\n\nSettings, data, code, size and speed are the same.\n\n### Gates" in description(same)
    assert "What changed" not in description(make_review([better()], opponent=BASELINE))


def test_it_is_said_which_test_sets_the_candidate_s_author_chose() -> None:
    def told(**origins: Origin) -> str:
        review = make_review([better()])
        return description(replace(review, provenance=replace(review.provenance, origins=origins)))

    assert "Warning: all test sets come from the candidate's own run: its author chose" in told(test="candidate")
    assert "Warning: the candidate was not evaluated on `b`, which the champion was; the review uses it as well.\n" in (
        told(a="both", b="champion")
    )
    assert "as well; `a` is the candidate's alone." in told(a="candidate", b="champion")
    for origins in ({"a": "both", "b": "candidate"}, {"a": "candidate", "b": "settings"}, {}):
        assert "Warning" not in told(**origins)  # type: ignore[arg-type]


def test_a_champion_that_could_not_be_checked_for_leaks_is_a_warning() -> None:
    review = make_review([better()])
    review = replace(review, leaks=make_leaks([better()], checked=["candidate"]))
    for told in (report(review), description(review)):
        assert "the champion may have been trained on test sentences" in told
    assert "the candidate was trained on 0, the champion could not be checked" in report(review)
    assert review.verdict == "pass"


def test_lines_that_were_too_long_are_counted_and_the_first_is_named() -> None:
    review = replace(make_review([better()]), too_long=TooLong({"test": [5, 10]}, {"test": [1]}))
    left_out, empty = warnings(review, str)
    assert left_out.startswith("test: 2 lines left out for both, the first is line 5: longer than ")
    assert empty.startswith("test: 1 line too long for the candidate but not for the champion, the first is line 1;")
    assert left_out in report(review)
    assert Review.from_json(review.to_json()) == review


def test_without_champion_or_comparison_it_is_shorter() -> None:
    assert "Better than the baseline `translation memory`" in description(make_review([better()], opponent=BASELINE))
    assert "### Scores\n" not in description(make_review([]))


def test_sections_at_the_end_are_left_out_whole() -> None:
    short, long = (description(with_foreign_text("ä" * 300, test_sets)) for test_sets in (1, 20))
    assert "## Model card" in short
    assert max(len(short), len(long)) < LIMIT
    assert "14 more test sets are in the report." in description(make_review([better(name=f"n{n}") for n in range(20)]))
    for text in (short, long):
        for rows in tables(text):
            assert {row.count(" | ") for row in rows} == {rows[0].count(" | ")}
            assert all(row.endswith(" |") for row in rows)
    review = make_review([better()])
    card = f"What it is.\n\n### Scores on held-out text\n\n{'x' * 1500}\n\n### Data\n\n{'y' * 4000}\n"
    cut = description(replace(review, card=card))
    assert "What it is." in cut
    assert "x" * 1500 in cut
    assert "### Data" not in cut


@pytest.mark.parametrize("test_sets", [0, 1, 9])
@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_it_is_always_short_and_foreign_text_stays_in_its_code_spans(test_sets: int, text: str) -> None:
    found = description(with_foreign_text(text, test_sets))
    assert len(found) < LIMIT
    assert structure(found) == structure(description(with_foreign_text("x" * len(text), test_sets)))


def structure(text: str) -> list[str]:
    """What Markdown makes of each line of the review, and of its tables: the text outside of code spans."""
    kept = text.split("\n\n## Model card")[0].split("\n\n### Scores")[0]
    return [re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "CODE", line) for line in kept.splitlines()]
