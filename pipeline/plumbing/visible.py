"""Show the characters of foreign text that nobody could see, such as those that change the writing direction."""

import unicodedata

DIRECTION = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # bidirectional classes
INVISIBLE = {"Cc", "Cs", "Zl", "Zp"}  # general categories: control, half of a surrogate pair, separators of lines


def visible(text: str) -> str:
    """Return the text with the number of each invisible character, as in ⟨U+202E⟩, in its place."""
    return "".join(f"⟨U+{ord(c):04X}⟩" if _is_invisible(c) else c for c in text)


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE or unicodedata.bidirectional(character) in DIRECTION
