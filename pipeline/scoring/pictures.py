"""Draw the pictures of an evaluation: a bar chart of BLEU by source length, and heat maps of attention.

Each function writes a PNG from a matplotlib figure of its own, without a display and without pyplot's global state.

Shapes: S source pieces, T target pieces.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .facts import LengthScores, SystemName

# The bars of a group from left to right: system, name in the legend, colour. Colour-blind people can tell them apart.
BARS: tuple[tuple[SystemName, str, str], ...] = (
    ("beam", "model, beam search", "#0072B2"),
    ("memory", "translation memory", "#E69F00"),
    ("copy", "source copied", "#999999"),
)
BAR_WIDTH = 0.8 / len(BARS)  # as a share of the distance between two groups

CELL = 0.3  # width and height of a cell of every heat map, in inches
DOTS = 150  # of a heat map, to an inch; fewer where the cells would need more than LONGEST_SIDE dots
LONGEST_SIDE = 9000
TITLE_CHARACTERS = 70
COLOUR_BAR = 0.4  # its width, in cells

# matplotlib's own font, DejaVu Sans, has no Chinese, Japanese or Korean letters. Whichever of these
# fonts are installed supply them.
OTHER_FONTS = (
    *("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "NanumGothic", "WenQuanYi Zen Hei"),  # Linux
    *("Apple SD Gothic Neo", "Hiragino Sans", "Arial Unicode MS"),  # macOS
)
MISSING_NOTE = "boxes: letters that no installed font has; Noto Sans CJK has most"


def draw_bleu_by_length(path: Path, test_sets: Mapping[str, Sequence[LengthScores]], tokeniser: str) -> None:
    """Write a PNG with one panel for each test set."""
    with _style_for("".join(test_sets), **{"axes.spines.top": False, "axes.spines.right": False}) as note:
        figure = Figure(figsize=(8, 3.6 * len(test_sets)), dpi=120, layout="constrained")
        panels = figure.subplots(len(test_sets), squeeze=False, sharey=True)[:, 0]
        for axes, (name, rows) in zip(panels, test_sets.items(), strict=True):
            _draw_panel(axes, rows)
            axes.set_title(name, loc="left")
            axes.set_ylabel(f"BLEU ({tokeniser})")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(BARS), frameon=False)
        panels[-1].set_xlabel(f"words of the source, n sentences of this length\n{note}".rstrip())
        figure.savefig(path, bbox_inches="tight", pad_inches=0.15)


def _draw_panel(axes: Axes, rows: Sequence[LengthScores]) -> None:
    for place, (system, name, colour) in enumerate(BARS):
        left = [group + (place - (len(BARS) - 1) / 2) * BAR_WIDTH for group in range(len(rows))]
        bars = axes.bar(left, [row.bleu[system] for row in rows], BAR_WIDTH * 0.94, label=name, color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=1)
    axes.set_xticks(range(len(rows)), [f"{row.words}\nn = {row.sentences:,}" for row in rows])
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.1)


def draw_heat_map(
    path: Path, attention: NDArray[np.float32], source_tokens: Sequence[str], target_tokens: Sequence[str], title: str
) -> None:
    """Write a PNG of the attention (T, S) that each target piece paid to each source piece.

    Source pieces stand along the top, target pieces down the side. Darker cells have more attention; a row sums to 1.
    Cells have one size in all pictures, and so have the labels. A title of more than TITLE_CHARACTERS is cut.
    """
    rows, columns = attention.shape
    dots = min(DOTS, LONGEST_SIDE / (CELL * max(rows, columns)))
    title = title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 1]}…"
    with _style_for("".join([title, *source_tokens, *target_tokens])) as note:
        figure = Figure(figsize=(CELL * columns, CELL * rows), dpi=dots)
        axes = figure.add_axes((0, 0, 1, 1))  # cells fill the figure; savefig enlarges it to include the labels
        image = axes.imshow(attention, cmap="Blues", vmin=0, vmax=1)
        _label(axes, source_tokens, target_tokens)
        axes.set_title(f"{title}\n{note}".rstrip(), loc="left", pad=12)
        beside = figure.add_axes((1 + 1 / columns, 0, COLOUR_BAR / columns, 1))
        figure.colorbar(image, cax=beside, label="attention").outline.set_visible(False)
        figure.savefig(path, bbox_inches="tight", pad_inches=0.2)


def _label(axes: Axes, source_tokens: Sequence[str], target_tokens: Sequence[str]) -> None:
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("source", loc="left", color="0.4")
    axes.set_ylabel("translation", loc="top", color="0.4")
    axes.set_xticks(range(len(source_tokens)), source_tokens, rotation=90)
    axes.set_yticks(range(len(target_tokens)), target_tokens)
    # Thin lines between the cells.
    axes.set_xticks(np.arange(0.5, len(source_tokens) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(target_tokens) - 1), minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="both", length=0)


@contextmanager
def _style_for(text: str, **style: object) -> Iterator[str]:
    """Use matplotlib's default style, changed by `style`, and installed fonts that have the letters of `text`.

    The user's own matplotlib style is not used. Yields MISSING_NOTE if no font has some of the letters, else "".
    """
    names = ["DejaVu Sans", *(name for name in OTHER_FONTS if name in font_manager.fontManager.get_font_names())]
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in names]
    is_missing = any(not any(font.get_char_index(ord(letter)) for font in fonts) for letter in set(text))
    # A dollar sign is text, never the start of a formula.
    whole = style | {"font.family": names, "text.parse_math": False}
    with matplotlib.style.context(["default", whole]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the note in the picture says it
        yield MISSING_NOTE if is_missing else ""
