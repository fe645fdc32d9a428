"""Write the report of a review: one HTML file without scripts that loads nothing else (`report.html`, `report.css`).

Text of a corpus is foreign. Jinja escapes it. Invisible characters that could change how a text looks are shown as
their numbers. Each text is isolated, so that its writing direction ends with it.
"""

import base64
import difflib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import regex
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..data.languages import has_spaces
from ..plumbing.visible import visible
from .comparison import CANDIDATE, OPPONENT, REFERENCE, Change, Comparison
from .description import METRICS, WORDS, interval, share, signed
from .pages import Pages
from .review import AttentionMap, Review

LONGEST = 1000  # characters shown of a text


def write_report(review: Review, maps: Sequence[AttentionMap], pages: Pages) -> str:
    """Return the report as text, to be encoded in UTF-8. `pages`: the pages of MLflow that it links to."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= WORDS
    environment.filters |= {"foreign": foreign, "sides": mark_differences, "png": _data_uri}
    environment.filters |= {"signed": signed, "interval": interval, "share": share}
    thresholds = {gate.name: gate.threshold for gate in review.gates}
    return environment.get_template("report.html").render(
        review=review,
        maps=maps,
        pages=pages,
        reach=_reach(review.comparisons),
        allowed={metric: thresholds[f"{metric}_drop"] for metric in METRICS},
        plain=str,
        systems=(CANDIDATE, OPPONENT),
        reference=REFERENCE,
    )


def foreign(text: str) -> Markup:
    """Return foreign text as one isolated piece of the page."""
    return _ISOLATED.format(visible(_cut(text))) if text else _NOTHING


def mark_differences(change: Change, comparison: Comparison) -> dict[str, Markup]:
    """Return both systems' texts. Words that only one of them has are marked: `hit` if the reference has them, too."""
    spaced = has_spaces(comparison.target_language)
    units = {system: _units(_cut(getattr(change, system)), spaced) for system in (CANDIDATE, OPPONENT)}
    known = set(map(_bare, _units(change.reference, spaced)))
    matcher = difflib.SequenceMatcher(None, units[CANDIDATE], units[OPPONENT], autojunk=False)
    blocks = matcher.get_matching_blocks()
    shared = {
        CANDIDATE: {block.a + k for block in blocks for k in range(block.size)},
        OPPONENT: {block.b + k for block in blocks for k in range(block.size)},
    }
    return {system: _marked(units[system], shared[system], known) for system in units}


def _marked(units: Sequence[str], shared: set[int], known: set[str]) -> Markup:
    kinds = ["" if i in shared else "hit" if _bare(unit) in known else "miss" for i, unit in enumerate(units)]
    parts = []
    for kind, group in itertools.groupby(zip(kinds, units, strict=True), key=lambda pair: pair[0]):
        text = "".join(unit for _, unit in group)
        space = text[: len(text) - len(text.lstrip())] if kind else text
        parts.append(Markup.escape(visible(space)))
        if kind:
            parts.append(Markup('<mark class="{}">{}</mark>').format(kind, visible(text[len(space) :])))
    return _ISOLATED.format(Markup("").join(parts)) if units else _NOTHING


def _units(text: str, spaced: bool) -> list[str]:
    """Return words with the space before them, or characters. Joined, they give the text without space at its end."""
    return re.findall(r"\s*\S+", text) if spaced else regex.findall(r"\X", text)


def _bare(unit: str) -> str:
    return unit.strip().strip('.,;:!?"()„“»«').lower()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _visible(value: object) -> object:
    """Return what a template is about to show, with the numbers of invisible characters in place of these."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_ISOLATED = Markup('<bdi dir="auto">{}</bdi>')
_NOTHING = Markup('<span class="nothing">(empty)</span>')


def _data_uri(attention_map: AttentionMap) -> str:
    return f"data:image/png;base64,{base64.b64encode(attention_map.png).decode()}"


def _reach(comparisons: Sequence[Comparison]) -> float:
    """Return the points from the middle of the chart of differences to its ends: beyond all limits, and at least 1."""
    differences = [d for comparison in comparisons for d in comparison.differences.values()]
    ends = [end for d in differences for end in (d.points, *(d.limits or ()))]
    return max(1.0, 1.05 * max(map(abs, ends), default=0.0))
