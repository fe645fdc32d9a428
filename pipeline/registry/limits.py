"""Owns how long a sentence a packaged translator takes. It travels in the package, with the requests that it bounds."""

CHARACTERS = 2_000  # the most in a sentence
PIECES = 512  # the most after tokenising: attention grows with the square, and an emoji may be four pieces
TOO_LONG = f"longer than a registered model takes, which is {CHARACTERS:,} characters and {PIECES} pieces"
