"""Ask the user, on the terminal or through $FORCE, before something is done that cannot be undone."""

import os
import sys

from pipeline.plumbing.errors import UserError


def is_forced() -> bool:
    """Return whether $FORCE is 1."""
    text = os.environ.get("FORCE", "")
    if text not in ("", "0", "1"):
        raise UserError(f"FORCE: got {text!r}, expected 1 or nothing; 1 skips the question or the check")
    return text == "1"


def says_yes(question: str) -> bool | None:
    """Ask a question. Return whether the answer is yes; None if there is no terminal."""
    if not sys.stdin.isatty():
        return None
    try:
        return input(f"{question} Type yes: ").strip().casefold() in ("y", "yes")
    except EOFError:
        print()
        return False
