"""Owns the exceptions that a user is meant to read."""


class UserError(ValueError):
    """A mistake that the user can mend: says what was wrong, with the value, and what to do.

    Stages print it without a traceback and leave with status 2.
    """


class Paused(Exception):
    """A training that ended early because it was asked to, with all that going on needs on disk. Status 75."""
