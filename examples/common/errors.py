"""Errors that the user can correct."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class UserError(Exception):
    """A mistake in the input, as one line: what was given, where, and what was expected.

    The command line prints it to stderr and leaves with exit code 2.
    """


@contextlib.contextmanager
def user_errors(path: Path, done: str) -> Iterator[None]:
    """In it an OSError is a UserError: `path` cannot be `done`, "read" or "written"."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be {done} ({error.strerror or error})") from None
