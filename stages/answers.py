"""What somebody has answered before a command does what cannot be undone: $FORCE, or a line on the terminal."""

import os
import sys

from pipeline.plumbing.errors import UserError


def is_forced() -> bool:
    """$FORCE: 1, or nothing."""
    text = os.environ.get("FORCE", "")
    if text not in ("", "0", "1"):
        raise UserError(f"FORCE: got {text!r}, expected 1 to override what speaks against it, or nothing")
    return text == "1"


def says_yes(question: str) -> bool | None:
    """Whether yes is typed in answer to the question; None where there is no terminal to ask on."""
    if not sys.stdin.isatty():
        return None
    try:
        return input(f"{question} Type yes: ").strip().casefold() in ("y", "yes")
    except EOFError:
        print()
        return False
