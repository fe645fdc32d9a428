"""Owns the chart of BLEU by source length. The scores come from `metrics`; pictures of attention are in `heatmaps`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .facts import LengthScores, SystemName
from .fonts import style_for

# The systems in the order of their bars: (key, name in the legend, colour that a colour-blind reader tells apart).
SYSTEMS: tuple[tuple[SystemName, str, str], ...] = (
    ("beam", "model, beam search", "#0072B2"),
    ("memory", "translation memory", "#E69F00"),
    ("copy", "source copied", "#999999"),
)
BAR = 0.8 / len(SYSTEMS)  # of the distance between two groups


def draw_bleu_by_length(path: Path, test_sets: Mapping[str, Sequence[LengthScores]], tokeniser: str) -> None:
    """Write a PNG with a panel for each test set."""
    with style_for("".join(test_sets), **{"axes.spines.top": False, "axes.spines.right": False}) as note:
        figure = Figure(figsize=(8, 3.6 * len(test_sets)), dpi=120, layout="constrained")
        panels = figure.subplots(len(test_sets), squeeze=False, sharey=True)[:, 0]
        for axes, (name, rows) in zip(panels, test_sets.items(), strict=True):
            _draw_panel(axes, rows)
            axes.set_title(name, loc="left")
            axes.set_ylabel(f"BLEU ({tokeniser})")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(SYSTEMS), frameon=False
        )
        panels[-1].set_xlabel(f"words of the source, n sentences of this length\n{note}".rstrip())
        figure.savefig(path, bbox_inches="tight", pad_inches=0.15)


def _draw_panel(axes: Axes, rows: Sequence[LengthScores]) -> None:
    for place, (system, name, colour) in enumerate(SYSTEMS):
        left = [group + (place - (len(SYSTEMS) - 1) / 2) * BAR for group in range(len(rows))]
        bars = axes.bar(left, [row.bleu[system] for row in rows], BAR * 0.94, label=name, color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=1)
    axes.set_xticks(range(len(rows)), [f"{row.words}\nn = {row.sentences:,}" for row in rows])
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.1)
