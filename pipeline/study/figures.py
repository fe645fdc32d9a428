"""Draw the figures of a study, each both as a PNG and as SVG for the page, which follows the page's colours.

Each figure is a function that draws on a matplotlib figure of its own, without a display.
"""

import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .gradients import Norm
from .lengths import LengthScore
from .results import Results

TEXT, SOFT = "#1c2024", "#5b6470"  # replaced by the page's own colours in the SVG
FIXED, ATTENTIVE = "#d55e00", "#0072b2"  # colour-blind people can tell them apart
OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLES = [(colour, line) for line in ("-", "--", ":", "-.") for colour in OTHERS]  # of the other members, in this order
PAGE_COLOURS = {TEXT: "var(--text)", SOFT: "var(--soft)", FIXED: "var(--fixed)", ATTENTIVE: "var(--attentive)"}
SIZE = (5.6, 3.5)  # inches; the page shows them larger on a wide screen
STYLE = {
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",  # text stays text, which can be read aloud and searched
    "font.family": "sans-serif",
    "text.color": TEXT,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "text.parse_math": False,  # a dollar sign is text
}


def draw_all(results: Results, directory: Path) -> dict[str, str]:
    """Write a PNG of each figure into `directory`. Return the figures as SVG, by name."""
    found = {}
    for name, draw in FIGURES.items():
        with matplotlib.style.context(["default", STYLE | {"svg.hashsalt": name}]):
            figure = Figure(figsize=SIZE)
            draw(figure.subplots(), results)
            figure.savefig(directory / f"{name}.png", facecolor="white", dpi=200)
            text = io.StringIO()
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
            found[name] = for_page(text.getvalue())
    return found


def for_page(svg: str) -> str:
    """Return a figure as a part of a page: without header, with the page's colours, and without repeated ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # figure_1, axes_1, ...; ids that are referred to have no _
    svg = re.sub(r"<svg [^>]*viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg


def _bleu_by_length(axes: Axes, results: Results) -> None:
    for row in results.rows:
        if row.member not in (results.fixed, results.attentive):
            _lengths(axes, results.by_length[row.member], SOFT, "", alpha=0.35)
    _lengths(axes, results.by_length[results.attentive], ATTENTIVE, f"attention ({results.attentive})", interval=True)
    _lengths(axes, results.by_length[results.fixed], FIXED, f"one fixed vector ({results.fixed})", interval=True)
    groups = results.by_length[results.attentive]
    axes.set_xscale("log", base=2)
    axes.set_xticks([g.mean_words for g in groups], [f"{g.words}\nn = {g.sentences}" for g in groups])
    axes.minorticks_off()
    axes.set(xlabel="words of the source", ylabel="BLEU", ylim=(0, None))
    axes.plot([], [], color=SOFT, alpha=0.35, label="other members")
    axes.legend(loc="upper right")


def _joined_sentences(axes: Axes, results: Results) -> None:
    _lengths(axes, results.joined[results.attentive], ATTENTIVE, f"attention ({results.attentive})", interval=True)
    for place, size in enumerate(results.sizes):
        shade = 0.3 + 0.7 * (place + 1) / len(results.sizes)
        is_fixed = size.member == results.fixed
        label = f"fixed vector of {size.size:,}"
        _lengths(axes, results.joined[size.member], FIXED, label, alpha=shade, interval=is_fixed)
    groups = results.joined[results.attentive]
    axes.set_xscale("log", base=2)
    axes.set_xticks([g.mean_words for g in groups], [f"{g.mean_words:.0f}" for g in groups])
    axes.minorticks_off()
    axes.set(xlabel="mean words of the source, by joining 1, 2, 3, 4, 6 neighbours", ylabel="BLEU", ylim=(0, None))
    axes.legend(loc="upper right")


def _vector_size(axes: Axes, results: Results) -> None:
    sizes = [size.size for size in results.sizes]
    (attentive,) = (row for row in results.rows if row.member == results.attentive)
    axes.axhspan(*attentive.bleu_interval, color=ATTENTIVE, alpha=0.15, linewidth=0)
    axes.axhline(attentive.bleu, color=ATTENTIVE, label=f"attention, states of {attentive.hidden_size:,}")
    low, high = ([size.bleu_interval[side] for size in results.sizes] for side in (0, 1))
    axes.fill_between(sizes, low, high, color=FIXED, alpha=0.15, linewidth=0)
    axes.plot(sizes, [size.bleu for size in results.sizes], "o-", color=FIXED, label="one fixed vector")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel="numbers in the vector", ylabel="BLEU", ylim=(0, None))
    axes.legend(loc="center right")


def _gradients(axes: Axes, results: Results) -> None:
    names = ((results.attentive, ATTENTIVE, "attention"), (results.fixed, FIXED, "one fixed vector"))
    for member, colour, label in names:
        _norms(axes, results.gradients[member], colour, f"{label} ({member})", marker="o")
    axes.set(xlabel="recurrent steps from the source word to the target word", ylabel="norm of the gradient")
    axes.legend()


def _recurrences(axes: Axes, results: Results) -> None:
    for colour, (cell, kinds) in zip(OTHERS, results.recurrences.items(), strict=False):
        for weights, norms in kinds.items():
            _norms(axes, norms, colour, f"{cell}, {weights}", linestyle="--" if weights == "untrained" else "-")
    axes.set(xlabel="steps back in time", ylabel="norm of the gradient, 1 at step 0", ylim=(1e-12, None))
    axes.legend(loc="lower left")


def _forcing(axes: Axes, results: Results) -> None:
    members = list(results.forcing)[::-1]
    for offset, colour, way, label in (
        (0.2, SOFT, "teacher_forced", "after the reference"),
        (-0.2, ATTENTIVE, "free_running", "after its own words"),
    ):
        shares = [100 * getattr(results.forcing[m], way).accuracy for m in members]
        axes.barh([n + offset for n in range(len(members))], shares, 0.38, color=colour, label=label)
    axes.set_yticks(range(len(members)), members, fontsize="small")
    axes.set(xlabel="tokens predicted as in the reference, %", xlim=(0, 100))
    axes.legend(loc="lower right")


def _after_error(axes: Axes, results: Results) -> None:
    sampled = [row.member for row in results.rows if row.sampling_rate]
    for member, colour in ((results.attentive, ATTENTIVE), *((name, OTHERS[0]) for name in sampled)):
        rows = results.forcing[member].after_error
        for place, style, label in ((0, "o-", "after its own words"), (1, "--", "after the reference")):
            shares = [100 * row[place] for row in rows]
            axes.plot(range(1, len(rows) + 1), shares, style, color=colour, label=f"{member}, {label}")
    axes.set(xlabel="tokens after the first error", ylabel="tokens as in the reference, %", ylim=(0, 100))
    axes.legend()


def _cost(axes: Axes, results: Results) -> None:
    styles, ends = _styles(results), {}
    for row in results.rows:
        colour, line = styles[row.member]
        minutes = [epoch.minutes for epoch in row.epochs]
        axes.plot(minutes, [epoch.bleu for epoch in row.epochs], f"o{line}", color=colour, markersize=3)
        ends[row.member] = (minutes[-1], row.epochs[-1].bleu, colour)
    axes.set(xlabel="minutes of training", ylabel="BLEU on the validation split", ylim=(0, None), xlim=(0, None))
    right, gap = max(x for x, _, _ in ends.values()) * 1.06, max(y for _, y, _ in ends.values()) / 19
    lowest = 0.0
    for name, (x, y, colour) in sorted(ends.items(), key=lambda end: end[1][1]):  # from below, none over another
        lowest = max(y, lowest + gap)
        axes.annotate(name, (x, y), (right, lowest), color=TEXT, fontsize="x-small", va="center",
                      arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0})  # fmt: skip
    axes.set_xlim(0, right * 1.3)
    axes.set_ylim(0, max(lowest + gap, axes.get_ylim()[1]))


def _entropy(axes: Axes, results: Results) -> None:
    styles = _styles(results)
    for row in results.rows:
        found = [epoch.attention_entropy for epoch in row.epochs if epoch.attention_entropy is not None]
        if found:
            colour, line = styles[row.member]
            axes.plot(range(1, len(found) + 1), found, f"o{line}", color=colour, label=row.member, markersize=3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="entropy of the attention, nats", ylim=(0, 1.5 * axes.get_ylim()[1]))  # a legend
    axes.legend(fontsize="x-small", ncols=2)


def _styles(results: Results) -> dict[str, tuple[str, str]]:
    """Return a colour and a line style for each member, the same in all figures."""
    known = {results.fixed: (FIXED, "-"), results.attentive: (ATTENTIVE, "-")}
    others = itertools.cycle(STYLES)
    return {row.member: known.get(row.member) or next(others) for row in results.rows}


def _lengths(
    axes: Axes, rows: Sequence[LengthScore], colour: str, label: str, alpha: float = 1.0, interval: bool = False
) -> None:
    words = [row.mean_words for row in rows]
    if interval:
        low, high = [row.bleu.low for row in rows], [row.bleu.high for row in rows]
        axes.fill_between(words, low, high, color=colour, alpha=0.15, linewidth=0)
    style = "o-" if label else "-"
    axes.plot(words, [row.bleu.value for row in rows], style, color=colour, alpha=alpha, label=label or None)


def _norms(axes: Axes, norms: Sequence[Norm], colour: str, label: str, **style: str) -> None:
    axes.plot([n.steps for n in norms], [n.norm for n in norms], color=colour, label=label, **style)  # type: ignore[arg-type]
    axes.set_yscale("log")
    low, high = axes.dataLim.intervaly
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


FIGURES: Mapping[str, Callable[[Axes, Results], None]] = {
    "bleu_by_length": _bleu_by_length,
    "joined_sentences": _joined_sentences,
    "vector_size": _vector_size,
    "gradients": _gradients,
    "recurrences": _recurrences,
    "forcing": _forcing,
    "after_error": _after_error,
    "cost": _cost,
    "entropy": _entropy,
}
