"""Write the page of a study: one HTML file that needs no server and loads nothing else.

Jinja escapes the text. The page runs no script but `page.js`: its Content-Security-Policy names the digest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..data.tokenizer import META_SPACE
from ..plumbing.visible import visible
from ..scoring.attention_page import csp_digest
from .beam import Tree
from .figures import draw_all
from .results import Results, Row

HERE = Path(__file__).parent
PAGE = "index.html"
NODE_WIDTH, NODE_HEIGHT, COLUMN, LINE = 84, 34, 104, 44  # of the tree, in pixels


def write_page(directory: Path, results: Results) -> None:
    """Write index.html, and its figures as PNG, into `directory`."""
    figures = {name: Markup(svg) for name, svg in draw_all(results, directory).items()}
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    names = [walk.member for walk in results.walks[0].walks]
    walks = json.dumps(_visible([asdict(walk) for walk in results.walks]), ensure_ascii=False)
    text = environment.get_template("page.html").render(
        results=results,
        chosen=results.attentive if results.attentive in names else names[0],
        rows={row.member: row for row in results.rows},
        figures=figures,
        trees=[(found, drawn_tree(found)) for found in results.trees],
        walks=Markup(walks.replace("<", "\\u003c")),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src '{csp_digest(script)}'",
        shown=shown,
        settings_of=settings_of,
        visible=visible,
    )
    (directory / PAGE).write_text(text, encoding="utf-8")


def _visible(content: Any) -> Any:
    """Return JSON content whose texts show signs that would change how a page is written."""
    if isinstance(content, dict):
        return {key: _visible(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return list(map(_visible, content))
    return visible(content) if isinstance(content, str) else content


def shown(piece: str) -> str:
    """Return a piece as the page shows it, with a visible mark in the place of a space."""
    return visible(piece.replace(META_SPACE, "\u00b7")) if piece != "</s>" else "end"


def settings_of(row: Row) -> str:
    """Return a member's settings that differ from the first member's, in a line."""
    return ", ".join(f"{name.partition('.')[2]} {value}" for name, value in row.settings.items()) or "–"


def drawn_tree(found: Tree) -> Mapping[str, object]:
    """Return where the nodes and the lines of a beam search stand, in pixels."""
    rows: dict[int, int] = {}
    places: list[tuple[int, int]] = []
    for node in found.nodes:
        row = rows.get(node.step, 0)
        rows[node.step] = row + 1
        places.append((node.step * COLUMN, row * LINE))
    return {
        "width": (max(rows) + 1) * COLUMN,
        "height": max(rows.values()) * LINE + 4,
        "nodes": list(zip(range(len(places)), found.nodes, places, strict=True)),
        "lines": list(_lines(found, places)),
        "best": set(found.best),
    }


def _lines(found: Tree, places: Sequence[tuple[int, int]]) -> list[tuple[str, bool]]:
    """Return the path of each line from a node to its parent, and whether it is on the way to the translation."""
    lines = []
    best = set(found.best)
    for number, node in enumerate(found.nodes):
        if node.parent is not None:
            (x, y), (px, py) = places[number], places[node.parent]
            start, end = (px + NODE_WIDTH, py + NODE_HEIGHT // 2), (x, y + NODE_HEIGHT // 2)
            middle = (start[0] + end[0]) / 2
            path = f"M{start[0]} {start[1]}C{middle} {start[1]} {middle} {end[1]} {end[0]} {end[1]}"
            lines.append((path, number in best and node.parent in best))
    return lines
