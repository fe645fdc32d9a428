"""The description of a reviewed version: short enough always, whole tables, foreign text in code spans alone."""

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reviews.comparison import Change
from pipeline.reviews.description import PADDING, write_description
from pipeline.reviews.review import Review
from pipeline.reviews.test_sets import Origin
from tests.reviews import BASELINE, CANDIDATE, CHAMPION, better, make_review

LIMIT = 5000
TEXTS = st.text(st.one_of(st.sampled_from("`|<>*_#[]()!\\\n\r\u202eab "), st.characters()), max_size=300)


def with_foreign_text(text: str, test_sets: int = 1) -> Review:
    change = Change(1, text, text, text, text, 10.0)
    comparison = replace(better(), opponent=text, gains=[change] * 20, losses=[change] * 20)
    comparisons = [replace(comparison, test_set=f"{text}{n}") for n in range(test_sets)]
    digests = {f"{text}{n}": text for n in range(9)}
    candidate, opponent = (replace(side, name=text, digests=digests, commit=text) for side in (CANDIDATE, CHAMPION))
    review = make_review(comparisons, candidate, opponent)
    return replace(review, provenance=replace(review.provenance, time=text, reviewer=text, commit=text))


def tables(description: str) -> list[list[str]]:
    """The rows of each table, without what keeps the columns apart."""
    blocks = description.replace(PADDING, "").split("\n\n")
    return [block.splitlines() for block in blocks if block.startswith("| ")]


def test_verdict_gates_scores_digests_and_examples_are_told() -> None:
    review = make_review([better()])
    description = write_description(review)
    assert description.startswith("**Review: pass.** Better than `translator-en-de` version 2 (BLEU +")
    gates, scores = tables(description)
    assert [row.split(" | ")[0] for row in gates[2:]] == [f"| {gate.name}" for gate in review.gates]
    assert len(scores) == 4
    assert re.match(r"\| `test` \(100\) \| BLEU \| \d\d\.\d \[.*\] \| .* \| \+\d\d\.\d\d \[.*\] \|$", scores[2])
    for part in ("a" * 64, "nrefs:1", "`jane`", "### Largest gains", "### Largest losses", better().gains[0].candidate):
        assert part in description


def test_a_failure_and_a_warning_say_why() -> None:
    review = make_review([better()], replace(CANDIDATE, speed=None), leaked={"test": 3})
    description = write_description(review).replace(PADDING, "")
    assert description.startswith("**Review: fail.** It fails against `translator-en-de` version 2: leaked test")
    assert "\n\nWarning: not measured: latency.\n" in description
    assert "| leak | 3 | at most 0 | **fail** |" in description
    assert "| latency_ratio | – | at most 1.50\u00a0× | **missing**, not required |" in description


def test_whose_the_test_sets_are_is_told_where_the_candidate_s_author_chose_them() -> None:
    def told(**origins: Origin) -> str:
        review = make_review([better()])
        return write_description(replace(review, provenance=replace(review.provenance, origins=origins)))

    assert "Warning: all test sets are the candidate's own: whoever made it chose" in told(test="candidate")
    assert "Warning: the candidate was not evaluated on test sets of the champion (`b`), on which it is reviewed" in (
        told(a="both", b="champion")
    )
    assert "is reviewed too; its own (`a`) are not the champion's." in told(a="candidate", b="champion")
    for origins in ({"a": "both", "b": "candidate"}, {"a": "candidate", "b": "settings"}, {}):
        assert "Warning" not in told(**origins)  # type: ignore[arg-type]


def test_without_champion_comparison_or_losses_it_is_shorter() -> None:
    assert "Better than the baseline `translation memory`" in write_description(
        make_review([better()], opponent=BASELINE)
    )
    assert "### Scores" not in write_description(make_review([]))
    assert "### Largest losses" not in write_description(make_review([replace(better(), losses=[])]))


def test_the_least_important_is_left_out_whole() -> None:
    short, long = (write_description(with_foreign_text("ä" * 300, test_sets)) for test_sets in (1, 20))
    assert "### Scores" in short
    assert max(len(short), len(long)) < LIMIT
    assert "### Largest losses" not in long
    assert "14 more test sets are in the report." in long
    for description in (short, long):
        for rows in tables(description):
            assert {row.count(" | ") for row in rows} == {rows[0].count(" | ")}
            assert all(row.endswith(" |") for row in rows)


@given(TEXTS, st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_it_is_always_short_and_foreign_text_stays_in_its_code_spans(text: str, test_sets: int) -> None:
    description = write_description(with_foreign_text(text, test_sets))
    assert len(description) < LIMIT
    assert structure(description) == structure(write_description(with_foreign_text("x" * len(text), test_sets)))


def structure(description: str) -> list[str]:
    """What Markdown makes of each line of the first section and of the tables: the text outside of code spans."""
    kept = description.split("\n### Compared")[0]
    return [re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "CODE", line) for line in kept.splitlines()]
