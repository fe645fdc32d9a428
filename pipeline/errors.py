"""Owns the one exception that a user is meant to read."""


class UserError(ValueError):
    """A mistake that the user can mend: says what was wrong, with the value, and what to do.

    Stages print it without a traceback and leave with status 2.
    """
