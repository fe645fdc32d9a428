"""Owns the pictures of attention: where the decoder looked when it wrote each piece of a translation.

Draws with matplotlib's Agg straight from a figure: no display, no global state. Attention itself is the model's.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .fonts import style_for

CELL = 0.3  # inches, the width and the height of each
COLOUR_BAR = 0.4  # of a cell wide


def draw_heat_map(
    path: Path, attention: NDArray[np.float32], source_tokens: Sequence[str], target_tokens: Sequence[str], title: str
) -> None:
    """Write a PNG: source pieces along the top, target pieces down the side, the darker the more attention.

    attention: (T, S), one row a target piece, which sums to 1.
    """
    rows, columns = attention.shape
    with style_for("".join([title, *source_tokens, *target_tokens])) as note:
        figure = Figure(figsize=(CELL * columns, CELL * rows), dpi=150)
        axes = figure.add_axes((0, 0, 1, 1))  # cells fill the figure; labels lie outside, the tight box takes them in
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
