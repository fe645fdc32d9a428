"""The card of a model version: its content, and that text from outside is not markup."""

from pathlib import Path

from pipeline.plumbing.artifacts import open_artifact
from pipeline.registry.card import DESCRIPTION_CHARACTERS, code_span, write_short_card
from tests.published import publish_training


def test_foreign_text_cannot_leave_its_code_span() -> None:
    assert code_span("a | <b>`x`</b>\n# *y*") == "``a | <b>`x`</b> # *y*``"
    assert code_span("`x`") == "`` `x` ``"
    assert code_span("```") == "```` ``` ````"
    assert code_span("a\x00\u2028b") == "`a b`"
    assert code_span("x" * 200, longest=10) == "`" + "x" * 9 + "…`"
    assert code_span("") == "`  `"


def test_a_card_stays_short_and_loses_the_least_important_first(build: Path) -> None:
    publish_training(build)
    corpus, model, evaluation = (open_artifact(build / "default" / n, n) for n in ("corpus", "model", "evaluation"))
    card = write_short_card(corpus, model, evaluation, "abc-dirty")
    for part in (
        "12.3 [11.0, 13.5]",
        "nrefs:1|case:mixed",
        "catalogue-5",
        "and 6 smaller",
        "abc-dirty",
        "OPEN THE FILE",
    ):
        assert part in card
    test_sets = evaluation.manifest.facts["test_sets"]
    test_sets |= {f"test_{n}": test_sets["test"] for n in range(9)}
    long = write_short_card(corpus, model, evaluation, None)
    assert len(long) <= DESCRIPTION_CHARACTERS
    assert "test_8" in long
    assert "OPEN THE FILE" not in long
