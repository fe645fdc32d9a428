"""The bar chart shows every system and test set; the heat map is dark where the attention is, with whole labels."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from pipeline.scoring.facts import LengthScores
from pipeline.scoring.pictures import (
    BARS,
    CELL,
    DOTS,
    LONGEST_SIDE,
    TITLE_CHARACTERS,
    draw_bleu_by_length,
    draw_heat_map,
)

CELL_PIXELS = CELL * DOTS


def row(words: str, beam: float, memory: float, copy: float) -> LengthScores:
    return LengthScores(words=words, sentences=1234, bleu={"beam": beam, "memory": memory, "copy": copy})


def areas(path: Path) -> list[int]:
    """Return the number of pixels in the colour of each system."""
    pixels = image.imread(path)[:, :, :3]
    return [int((np.abs(pixels - np.array(to_rgb(colour))).max(axis=-1) < 0.01).sum()) for _, _, colour in BARS]


def test_the_height_of_a_bar_is_proportional_to_its_score(tmp_path: Path) -> None:
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


def draw(
    path: Path, attention: np.ndarray, source: list[str], target: list[str], title: str = "test, line 1"
) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_heat_map(path, attention.astype(np.float32), source, target, title)
    pixels: np.ndarray = image.imread(path)[:, :, :3]
    return pixels


def dark(pixels: np.ndarray) -> np.ndarray:
    """Return which pixels have the colour of full attention."""
    flags: np.ndarray = np.abs(pixels - np.array([8, 48, 107]) / 255).max(axis=-1) < 0.01
    return flags


def runs(flags: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [int(end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def test_cells_are_squares_of_the_same_size(tmp_path: Path) -> None:
    pixels = draw(tmp_path / "map.png", np.ones((4, 7)), ["▁a"] * 7, ["▁größer"] * 4)
    rows, columns = np.nonzero(dark(pixels))
    top, left = rows.min(), columns.min()
    down = runs(dark(pixels)[:, left + int(CELL_PIXELS / 2)])
    along = runs(dark(pixels)[top + int(2.5 * CELL_PIXELS)])
    assert (len(down), len(along)) == (4, 7)
    assert all(abs(length - CELL_PIXELS) <= 4 for length in down + along)  # the lines between cells take some pixels


def test_the_dark_cell_is_in_the_row_of_its_target_and_the_column_of_its_source(tmp_path: Path) -> None:
    attention = np.zeros((3, 5))
    attention[0, 0] = attention[1, 4] = attention[2, 3] = 1
    pixels = draw(tmp_path / "map.png", attention, list("abcde"), list("xyz"))
    found = dark(pixels)
    rows, columns = np.nonzero(found)
    top, left = rows.min(), columns.min()
    for row in range(3):
        for column in range(5):
            middle = (top + int((row + 0.5) * CELL_PIXELS), left + int((column + 0.5) * CELL_PIXELS))
            assert found[middle] == bool(attention[row, column])


def test_a_very_long_sentence_gives_a_picture_that_can_be_opened(tmp_path: Path) -> None:
    """At 45 pixels a cell, the longest sentence and its translation would be a picture of a thousand megapixels."""
    pixels = draw(tmp_path / "map.png", np.ones((2, 600)) / 600, ["▁a"] * 600, ["▁a"] * 2)
    assert LONGEST_SIDE < pixels.shape[1] < 1.1 * LONGEST_SIDE


def test_a_long_title_is_cut(tmp_path: Path) -> None:
    beginning = "x" * TITLE_CHARACTERS
    whole, cut, longer = (
        draw(tmp_path / "map.png", np.ones((1, 2)), ["a"] * 2, ["b"], beginning + end) for end in ("", "x", "yz")
    )
    assert np.array_equal(cut, longer)
    assert not np.array_equal(cut, whole)


@pytest.mark.parametrize("piece", ["▁Donaudampfschifffahrtsgesellschaftskapitän", "▁Wohlgemerkt", "."])
def test_no_label_is_cut_off_however_long_the_pieces_are(tmp_path: Path, piece: str) -> None:
    pixels = draw(tmp_path / "map.png", np.ones((2, 3)), [piece] * 3, [piece] * 2)
    for border in (pixels[:5], pixels[-5:], pixels[:, :5], pixels[:, -5:]):
        assert (border == 1).all()


@pytest.mark.parametrize("piece", ["$", r"$\frac{$", "${name}", "_^", "</s>", "<0xE2>", "œ", "\t"])
def test_every_piece_is_drawn_as_text_not_as_a_formula(tmp_path: Path, piece: str) -> None:
    draw(tmp_path / "map.png", np.ones((1, 2)) / 2, [piece, piece], [piece])


def test_letters_without_a_font_are_explained_in_the_picture_without_warnings(tmp_path: Path) -> None:
    unassigned = "\U000f0000"  # private use: no font has it
    plain = draw(tmp_path / "plain.png", np.ones((1, 9)) / 9, ["a"] * 9, ["a"])
    boxes = draw(tmp_path / "boxes.png", np.ones((1, 9)) / 9, ["a"] * 9, [unassigned])
    assert boxes.shape[0] > plain.shape[0] + 20  # one more line in the title
    draw(tmp_path / "korean.png", np.ones((1, 2)) / 2, ["▁폴더", "</s>"], ["▁폴더"])
