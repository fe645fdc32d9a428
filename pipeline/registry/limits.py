"""Define the longest sentence that a packaged translator accepts. This file is part of the package."""

CHARACTERS = 2_000  # of a sentence, at most
PIECES = 512  # after tokenising, at most; the cost of attention grows with the square, and an emoji may be four pieces
TOO_LONG = f"longer than a registered model accepts, which is {CHARACTERS:,} characters and {PIECES} pieces"
