"""Define how long a sentence a packaged translator accepts. This file is part of the package."""

CHARACTERS = 2_000  # of a sentence, at most
PIECES = 512  # after tokenising, at most; attention grows with the square, and an emoji may be four pieces
TOO_LONG = f"longer than a registered model takes, which is {CHARACTERS:,} characters and {PIECES} pieces"
