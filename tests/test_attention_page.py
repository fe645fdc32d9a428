"""The page of attention has the model's weights, shows foreign text as text, and loads nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.scoring.attention_page import Side, attention_page
from tests.browser import dom, needs_browser

SOURCE = Side("The files.", "en", ["▁The", "▁file", "s", ".", "</s>"])
TARGET = Side("Die Dateien.", "de", ["▁Die", "▁Datei", "en", ".", "</s>"])
WEIGHTS = np.array(
    [
        [0.7, 0.2, 0.096, 0.004, 0],
        [0.1, 0.85, 0.05, 0, 0],
        [0, 0.3, 0.7, 0, 0],
        [0, 0, 0, 0.5, 0.5],
        [0, 0, 0, 1 / 3, 2 / 3],
    ],
    dtype=np.float32,
)
HOSTILE = (
    "\"></bdi></script><script>document.title='owned'</script><img src=x onerror=x> {{ 7 * 7 }} & <!-- \u202e\u2066"
)


class Page(HTMLParser):
    """What a browser makes of a page: its tags, the text of its elements, and the pieces of each side."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}  # of all elements with this tag
        self.sides: dict[str, list[list[str]]] = {}  # side -> words -> pieces
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes.append(found)
        self.texts.setdefault(tag, []).append("")
        if tag != "meta":
            self._open.append(tag)
        if found.get("role") == "toolbar":
            self.sides[str(found["id"])] = []
        if found.get("class") == "word":
            list(self.sides.values())[-1].append([])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data
        if self._open[-2:] == ["button", "span"]:
            list(self.sides.values())[-1][-1].append(data)

    @property
    def weights(self) -> list[list[float]]:
        found: list[list[float]] = json.loads(self.texts["script"][0])
        return found


def page_of(source: Side = SOURCE, target: Side = TARGET) -> Page:
    return Page(attention_page(uniform(source, target), source, target))


def uniform(source: Side, target: Side) -> NDArray[np.float32]:
    shape = len(target.pieces), len(source.pieces)
    return np.full(shape, 1 / shape[1], dtype=np.float32)


def test_the_page_has_the_weights_of_every_target_piece() -> None:
    page = Page(attention_page(WEIGHTS, SOURCE, TARGET))
    assert np.abs(np.array(page.weights) - WEIGHTS).max() <= 5e-5


def test_pieces_are_shown_as_words() -> None:
    page = page_of()
    assert page.sides == {
        "source": [["The"], ["file", "s", "."], ["end"]],
        "translation": [["Die"], ["Datei", "en", "."], ["end"]],
    }
    assert page.texts["h1"] == [TARGET.text]
    assert page.texts["title"] == [f"Attention: {SOURCE.text}"]


def test_every_piece_is_shown_even_if_it_is_a_space_or_a_byte() -> None:
    page = page_of(Side("無 \u202e", "ja", ["▁", "無", "▁", "<0xE2>", "\u202e", "</s>"]))
    assert page.sides["source"] == [["␣", "無"], ["␣", "<0xE2>", "⟨U+202E⟩"], ["end"]]


def test_an_empty_translation_is_told() -> None:
    page = page_of(target=Side("", "de", ["</s>"]))
    assert page.texts["h1"] == ["(empty)"]
    assert page.sides["translation"] == [["end"]]


def test_each_side_has_its_language_and_writing_direction() -> None:
    page = page_of(target=Side("تعذر فتح الملف", "ar", ["▁تعذر", "▁فتح", "▁الملف", "</s>"]))
    marked = [found for found in page.attributes if "dir" in found]
    assert [(found["lang"], found["dir"]) for found in marked] == [(code, "auto") for code in ("en", "ar", "en", "ar")]


def test_foreign_text_is_shown_as_text() -> None:
    foreign = Side(HOSTILE, HOSTILE, [f"▁{HOSTILE}", "</s>"])
    page = page_of(foreign, foreign)
    assert page.tags == page_of(Side("a", "en", ["▁a", "</s>"]), Side("b", "en", ["▁b", "</s>"])).tags
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩").replace("\u2066", "⟨U+2066⟩")
    assert page.texts["h1"] == [shown]
    assert page.sides == {side: [[shown], ["end"]] for side in ("source", "translation")}
    assert {found["lang"] for found in page.attributes if "dir" in found} == {HOSTILE}


def test_only_the_pages_own_script_and_style_are_allowed() -> None:
    page = page_of()
    (policy,) = [str(found["content"]) for found in page.attributes if found.get("http-equiv")]
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (page.texts["style"][0], page.texts["script"][1])
    ]
    assert policy == f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'"


def test_the_page_loads_nothing() -> None:
    text = attention_page(WEIGHTS, SOURCE, TARGET)
    assert not re.search(r"https?:|\b(src|href)=|url\(|@import|fetch\(", text)


def numbers(document: str, side: str) -> list[str]:
    """Return the percentages below the pieces of one side."""
    box = document.split(f'id="{side}"')[1].split("</section>")[0]
    return re.findall(r"<small[^>]*>([^<]*)</small>", box)


@needs_browser
@pytest.mark.parametrize(
    ("action", "numbers_of_source", "numbers_of_target", "told"),
    [
        (
            "",
            ["70%", "20%", "10%", "", ""],
            [""] * 5,
            "When it wrote “Die”, the model looked most at “The” 70%, “file”",
        ),
        (
            "pieces[0][1].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));",
            [""] * 5,
            ["20%", "85%", "30%", "", ""],
            "The model looked at “file” most when it wrote “Datei” 85%, “en” 30%, “Die” 20%.",
        ),
        (
            "pieces[1][1].click();",
            ["10%", "85%", "5%", "", ""],
            [""] * 5,
            "When it wrote “Datei”, the model looked most at “file” 85%, “The” 10%, “s” 5%.",
        ),
        (
            "pieces[1][0].focus(); for (const key of ['ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowLeft'])"
            " document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));",
            ["", "30%", "70%", "", ""],
            [""] * 5,
            "When it wrote “en”, the model looked most at “s” 70%, “file” 30%.",
        ),
    ],
    ids=["opened", "hover", "click", "keys"],
)
def test_a_piece_shows_the_weights_of_the_other_side(
    tmp_path: Path, action: str, numbers_of_source: list[str], numbers_of_target: list[str], told: str
) -> None:
    document = dom(attention_page(WEIGHTS, SOURCE, TARGET), tmp_path, action)
    assert numbers(document, "source") == numbers_of_source
    assert numbers(document, "translation") == numbers_of_target
    assert told in re.sub("[\u2068\u2069]", "", document)


@needs_browser
def test_a_browser_runs_no_script_of_a_sentence(tmp_path: Path) -> None:
    foreign = Side(HOSTILE, "en", [f"▁{HOSTILE}", "</s>"])
    document = dom(attention_page(uniform(foreign, foreign), foreign, foreign), tmp_path)
    assert "<title>Attention: " in document
    assert numbers(document, "source") == ["50%", "50%"]
