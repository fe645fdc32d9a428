"""The report of a review shows all results, loads nothing, and shows foreign text as text."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from pipeline.reviews.comparison import Change, System
from pipeline.reviews.leaks import Leak, Leaks
from pipeline.reviews.pages import WORKFLOW
from pipeline.reviews.report import LONGEST, foreign, mark_differences
from pipeline.reviews.review import AttentionMap, Provenance, Review
from pipeline.reviews.version_changes import VersionChange
from tests.reviews import BASELINE, CANDIDATE, CHAMPION, better, compare_lines, make_review, report, sentences

HOSTILE = (
    "</bdi><script>alert('1')</script> {{ 7 * 7 }} {% if x %} \" onload=x &lt; ]]> <!-- \u202e\x00\x1b[31m\u2028 אבג"
)
TEXTS = st.text(st.one_of(st.sampled_from("<>&\"'{}%-= \u202e\u2066\x00\n\t\x85ab"), st.characters()), max_size=60)


class Page(HTMLParser):
    """What a browser makes of a page: its tags, their attributes and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.text += " " if tag in ("dt", "dd", "td", "th") else ""
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def words_of(page: str) -> str:
    return " ".join(Page(page).text.split())


def with_foreign_text(text: str) -> Review:
    """A review in which `text` stands wherever text of others may."""
    gain = Change(1, text, text, text, text + "x", 10.0)
    loss = replace(gain, candidate=text + "y", points=-10.0)
    comparison = replace(better(), test_set=text, opponent=text, gains=[gain], losses=[loss])
    candidate, opponent = (
        replace(side, name=text, version=text, source_language=text, digests={text: text}, commit=text)
        for side in (CANDIDATE, CHAMPION)
    )
    made = Provenance(text, text, {"test_sets": {text: text}}, {text: text}, text, text, text)
    review = make_review([comparison], candidate, opponent)
    counts = {"candidate": {text: 1}}
    leaks = Leaks({text: 100}, counts, {text: 1}, ["opponent"], [Leak("candidate", text, 1, "target", text)])
    return replace(review, provenance=made, leaks=leaks, changes=[VersionChange(text, text, text)])


def test_the_verdict_and_its_reason_come_first() -> None:
    page = words_of(report(make_review([better()], replace(CANDIDATE, unknown_pieces={"test": 0.0}))))
    assert page.index("pass translator-en-de version 3 Better than translator-en-de version 2: BLEU +") < page.index(
        'All required gates hold. To make it the champion, type: make promote VERSION=3 REASON="BLEU +'
    )
    page = words_of(report(make_review([better()], leaked={"test": 2})))
    assert (
        "fail translator-en-de version 3 It fails against translator-en-de version 2: leaked test sentences 2 "
        "(required: at most 0). To make it the champion in spite of this, with your reason on record, type: make "
    ) in page
    assert "test, line 7, known to the candidate, source: source <b>" in page
    assert "2 of 100 sentences left out: the candidate was trained on 2, the champion was trained on 0." in page


def test_what_changed_stands_before_the_results() -> None:
    page = words_of(report(make_review([better()])))
    told = "What changed champion, version 2 candidate, version 3train.epochs 8 16"
    assert page.index("All required gates hold.") < page.replace("3 train", "3train").index(told) < page.index("Gates")
    same = replace(make_review([better()]), changes=[])
    assert "What changed Settings, data, code, size and speed are the same." in words_of(report(same))
    assert "What changed" not in words_of(report(make_review([better()], opponent=BASELINE)))


def test_links_lead_to_the_pages_of_versions_and_runs() -> None:
    review = make_review([better()], replace(CANDIDATE, name="a name/b"))
    for uri, base in (
        ("http://mlflow.example.org/", "http://mlflow.example.org"),
        ("https://jane:secret@mlflow.example.org", "https://mlflow.example.org"),
        ("sqlite:///build/mlflow.db", "http://127.0.0.1:5000"),
    ):
        text = report(review, tracking_uri=uri)
        links = {value for name, value in Page(text).attributes if name == "href"}
        assert links == {
            f"{base}/#/models/a%20name%2Fb/versions/3{WORKFLOW}",
            f"{base}/#/models/translator-en-de/versions/2{WORKFLOW}",
            f"{base}/#/experiments/5/runs/{'6' * 32}{WORKFLOW}",
        }
        assert ("while make ui runs" in words_of(text)) == uri.startswith("sqlite")


def test_on_a_phone_each_value_has_the_title_of_its_column() -> None:
    """There a row is a block, in which the title stands before the value: no column can be out of sight."""
    page = Page(report(make_review([better()]), [AttentionMap("a", b"")]))
    assert page.tags["table"] == Counter(page.attributes)[("class", "stack")] + sum(
        name == "class" and str(value).startswith("stack ") for name, value in page.attributes
    )
    labels = {value for name, value in page.attributes if name == "data-label"}
    assert {"worst test set", "limit", "candidate", "opponent", "champion", "difference", "sentences"} <= labels


def test_a_warning_stands_beside_the_verdict() -> None:
    slow = replace(CHAMPION, speed=None)
    page = words_of(report(make_review([better()], opponent=slow)))
    assert "All required gates hold. warning latency: not measured; this gate is not required." in page


def test_every_gate_test_set_length_and_sentence_is_shown() -> None:
    news = replace(better(), test_set="news")
    review = make_review([better(), news], replace(CANDIDATE, unknown_pieces={"test": 0.0, "news": 0.0}))
    page = words_of(report(review))
    for gate in review.gates:
        assert gate.name in page
    for comparison in (better(), news):
        for change in (*comparison.gains, *comparison.losses):
            assert f"line {change.line}, chrF" in page
            assert f"reference {change.reference} candidate {change.candidate} opponent {change.opponent}" in page
        for bucket in comparison.by_length:
            assert f" {bucket.words} words {bucket.sentences} " in page
        for signature in comparison.signatures.values():
            assert signature in page


@pytest.mark.parametrize(
    ("review", "shown"),
    [
        (make_review([better()], opponent=BASELINE), "Better than the baseline translation memory"),
        (make_review([better()], opponent=BASELINE), "does not apply"),
        (make_review([]), "Nothing was compared."),
        (make_review([better()], opponent=BASELINE), " no model "),
        (
            make_review([compare_lines(sentences(5, 1), sentences(5, 1), sentences(5, 1))]),
            "No sentence has a lower chrF than the opponent's.",
        ),
    ],
)
def test_missing_results_are_named(review: Review, shown: str) -> None:
    assert shown in words_of(report(review))


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    png = b"\x89PNG\r\n\x1a\n"
    page = Page(report(make_review([better()]), [AttentionMap('say "a"', png)] * 3))
    assert page.tags["img"] == 3
    assert not page.tags.keys() & {"script", "link", "iframe", "object", "form"}
    loaded = [value for name, value in page.attributes if name in ("src", "srcset", "data", "action")]
    assert loaded == ["data:image/png;base64,iVBORw0KGgo="] * 3
    assert ("alt", 'Attention: say "a"') in page.attributes
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import", report(make_review([better()])))


def test_foreign_text_is_never_markup() -> None:
    hostile, harmless = (Page(report(with_foreign_text(text))) for text in (HOSTILE, "harmless text"))
    del hostile.tags["mark"], harmless.tags["mark"]  # how much is marked depends on the text
    assert hostile.tags == harmless.tags
    assert "{{ 7 * 7 }} {% if x %}" in hostile.text
    assert "49" not in hostile.text.split("Where this comes from")[1].replace("%2F", "")
    assert not set("\u202e\x00\x1b\u2028") & set(hostile.text)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_any_text_is_shown_unchanged(text: str) -> None:
    assert_isolated(foreign(text), text)


@given(TEXTS, TEXTS, st.sampled_from(["de", "zh"]))
@settings(max_examples=300, deadline=None)
def test_marking_differences_changes_no_text(candidate: str, opponent: str, language: str) -> None:
    change = Change(1, "source", "reference", candidate, opponent, 1.0)
    sides = mark_differences(change, replace(better(), target_language=language))
    assert_isolated(sides["candidate"], candidate if language == "zh" else candidate.rstrip())
    assert_isolated(sides["opponent"], opponent if language == "zh" else opponent.rstrip())


def assert_isolated(shown: Markup, text: str) -> None:
    """The browser sees `text`, with numbers for what it would not show, in one <bdi>, and nothing else."""
    page = Page(str(shown))
    assert page.tags.keys() <= {"bdi", "span", "mark"}
    if not text:
        assert page.text == "(empty)"
        return
    assert page.tags["bdi"] == 1
    assert page.attributes.count(("dir", "auto")) == 1
    assert page.text == numbered(text)


def numbered(text: str) -> str:
    unseen = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]"
    return re.sub(unseen, lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def test_half_a_surrogate_pair_does_not_stop_the_page() -> None:
    assert "U+D800" in report(with_foreign_text("a\ud800b"))
    report(with_foreign_text("a\ud800b")).encode()


def test_long_text_is_cut() -> None:
    assert Page(str(foreign("x" * 5000))).text == "x" * LONGEST + "…"
    change = replace(better().gains[0], candidate="Wort " * 5000)
    assert len(mark_differences(change, better())["candidate"]) < 2 * LONGEST


def test_marks_say_which_words_differ_and_which_the_reference_has() -> None:
    change = Change(1, "s", "Der Hund läuft schnell.", "Der Hund läuft schnell.", "Der Mann läuft schnell.", 20.0)
    sides = mark_differences(change, better())
    assert sides["candidate"] == '<bdi dir="auto">Der <mark class="hit">Hund</mark> läuft schnell.</bdi>'
    assert sides["opponent"] == '<bdi dir="auto">Der <mark class="miss">Mann</mark> läuft schnell.</bdi>'
    chinese = replace(change, reference="我们走", candidate="我们走", opponent="我你走")
    marked = mark_differences(chinese, replace(better(), target_language="zh"))
    assert marked["opponent"] == '<bdi dir="auto">我<mark class="miss">你</mark>走</bdi>'


def test_a_review_is_read_back_as_it_was_written() -> None:
    review = make_review([better()], opponent=BASELINE)
    again = Review.from_json(review.to_json())
    assert again == review
    assert (again.verdict, again.to_json()) == ("pass", review.to_json())
    with pytest.raises(ValueError, match="comparisons"):
        Review.from_json("{}")


def test_a_system_without_figures_is_shown() -> None:
    bare = System("x", "1", "en", "de", {}, None, None, None, None, {})
    assert "not under git" in words_of(report(make_review([better()], bare, bare)))
