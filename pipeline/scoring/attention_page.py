"""Make an interactive page of the attention of one translation: a single HTML file that loads nothing else.

Jinja escapes the text. The page runs no script but `attention_page.js`: its Content-Security-Policy names the digest.

Shapes: S source pieces, T target pieces.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from ..data.tokenizer import META_SPACE
from ..plumbing.visible import visible

HERE = Path(__file__).parent
END = "</s>"  # the last piece of a source, and of a translation that is complete
DECIMALS = 4  # of the weights in the page


@dataclass(frozen=True)
class Side:
    """The source or the translation."""

    text: str
    language: str  # a BCP 47 code
    pieces: list[str]

    def words(self) -> Iterator[list[str]]:
        """Yield the pieces of each word as the page shows them. The end of the sentence is a word."""
        word: list[str] = []
        for piece in self.pieces:
            if word and (piece.startswith(META_SPACE) or piece == END):
                yield word
                word = []
            word.append(_shown(piece))
        if word:
            yield word


def attention_page(attention: NDArray[np.float32], source: Side, target: Side) -> str:
    """Return the page, to be encoded in UTF-8, of the attention (T, S) that target pieces paid to source pieces."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((HERE / f"attention_page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return environment.get_template("attention_page.html").render(
        sides=(("source", source), ("translation", target)),
        weights=[[round(weight, DECIMALS) for weight in row] for row in attention.tolist()],
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src '{csp_digest(style)}'; script-src '{csp_digest(script)}'",
        end=END,
        visible=visible,
    )


def _shown(piece: str) -> str:
    """Return a piece without the mark of the space before it. A piece that is nothing else is shown as ␣."""
    return visible(piece.replace(META_SPACE, " ").strip()) or "␣"


def csp_digest(content: str) -> str:
    """Return what a Content-Security-Policy calls a script or style that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
