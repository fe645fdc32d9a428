"""Exceptions whose message is for the user."""


class UserError(ValueError):
    """An error that the user can correct. Its message says what was wrong, the value, and what to type.

    Stages print it without a traceback and end with status 2.
    """


class Paused(Exception):
    """Training was asked to stop, and has saved a checkpoint from which it can continue. The exit status is 75."""
