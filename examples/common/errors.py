"""Errors that the user can correct."""


class UserError(Exception):
    """A mistake in the input, as one line: what was given, where, and what was expected.

    The command line prints it to stderr and leaves with exit code 2.
    """
