"""The chart shows every system in every panel."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from pipeline.scoring.charts import SYSTEMS, draw_bleu_by_length
from pipeline.scoring.facts import LengthScores


def row(words: str, beam: float, memory: float, copy: float) -> LengthScores:
    return LengthScores(words=words, sentences=1234, bleu={"beam": beam, "memory": memory, "copy": copy})


def areas(path: Path) -> list[int]:
    """Pixels in the colour of each system."""
    pixels = image.imread(path)[:, :, :3]
    return [int((np.abs(pixels - np.array(to_rgb(colour))).max(axis=-1) < 0.01).sum()) for _, _, colour in SYSTEMS]


def test_bars_are_as_high_as_the_scores(tmp_path: Path) -> None:
    draw_bleu_by_length(tmp_path / "c.png", {"test": [row("1-4", 40, 20, 10), row("5-9", 40, 20, 10)]}, "13a")
    beam, memory, copy = areas(tmp_path / "c.png")
    assert beam / memory == pytest.approx(2, rel=0.1)
    assert memory / copy == pytest.approx(2, rel=0.1)


def test_every_test_set_has_a_panel(tmp_path: Path) -> None:
    rows = [row("1-4", 40, 20, 10)]
    draw_bleu_by_length(tmp_path / "one.png", {"test": rows}, "13a")
    draw_bleu_by_length(tmp_path / "two.png", {"test_2016_$a": rows, "test_2017_$b": rows}, "13a")
    heights = [image.imread(tmp_path / name).shape[0] for name in ("one.png", "two.png")]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.1)
    assert areas(tmp_path / "two.png")[0] > 1.5 * areas(tmp_path / "one.png")[0]
