"""Owns the pictures of attention: where the decoder looked when it wrote each piece of a translation.

Draws with matplotlib's Agg straight from a figure: no display, no global state. Attention itself is the model's.
"""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

CELL = 0.3  # inches, the width and the height of each
COLOUR_BAR = 0.4  # of a cell wide

# DejaVu Sans comes with matplotlib but has no Chinese, Japanese or Korean: whichever of these is installed helps out.
OTHER_FONTS = (
    *("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "NanumGothic", "WenQuanYi Zen Hei"),  # Linux
    *("Apple SD Gothic Neo", "Hiragino Sans", "Arial Unicode MS"),  # macOS
)
MISSING_NOTE = "boxes: letters that no installed font has; Noto Sans CJK has most"


def draw_heat_map(
    path: Path, attention: NDArray[np.float32], source_tokens: Sequence[str], target_tokens: Sequence[str], title: str
) -> None:
    """Write a PNG: source pieces along the top, target pieces down the side, the darker the more attention.

    attention: (T, S), one row a target piece, which sums to 1.
    """
    rows, columns = attention.shape
    fonts = ["DejaVu Sans", *(f for f in OTHER_FONTS if f in font_manager.fontManager.get_font_names())]
    missing = _has_missing_glyphs("".join([title, *source_tokens, *target_tokens]), fonts)
    # A dollar sign in a piece is text, never the start of a formula.
    style = {"font.family": fonts, "text.parse_math": False}
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():  # not the user's own
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said in the picture instead
        figure = Figure(figsize=(CELL * columns, CELL * rows), dpi=150)
        axes = figure.add_axes((0, 0, 1, 1))  # cells fill the figure; labels lie outside, the tight box takes them in
        image = axes.imshow(attention, cmap="Blues", vmin=0, vmax=1)
        _label(axes, source_tokens, target_tokens)
        axes.set_title(f"{title}\n{MISSING_NOTE}" if missing else title, loc="left", pad=12)
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


def _has_missing_glyphs(text: str, fonts: Iterable[str]) -> bool:
    loaded = [font_manager.get_font(font_manager.findfont(name)) for name in fonts]
    return any(not any(font.get_char_index(ord(c)) for font in loaded) for c in set(text))
