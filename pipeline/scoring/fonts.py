"""Draw text of any script with the fonts that are installed, and say in the picture where they lack letters."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style
from matplotlib import font_manager

# DejaVu Sans comes with matplotlib but has no Chinese, Japanese or Korean: whichever of these is installed helps out.
OTHER_FONTS = (
    *("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "NanumGothic", "WenQuanYi Zen Hei"),  # Linux
    *("Apple SD Gothic Neo", "Hiragino Sans", "Arial Unicode MS"),  # macOS
)
MISSING_NOTE = "boxes: letters that no installed font has; Noto Sans CJK has most"


@contextmanager
def style_for(text: str, **style: object) -> Iterator[str]:
    """Set matplotlib's style to its default, `style`, and fonts for `text`; not to the user's own style.

    Yields MISSING_NOTE if no font has some of the letters, else an empty text.
    """
    names = ["DejaVu Sans", *(name for name in OTHER_FONTS if name in font_manager.fontManager.get_font_names())]
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in names]
    is_missing = any(not any(font.get_char_index(ord(letter)) for font in fonts) for letter in set(text))
    # A dollar sign is text, never the start of a formula.
    whole = style | {"font.family": names, "text.parse_math": False}
    with matplotlib.style.context(["default", whole]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said in the picture instead
        yield MISSING_NOTE if is_missing else ""
