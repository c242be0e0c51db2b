"""Errors that the user can correct."""

import contextlib
import re
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


def line_of(error: Exception) -> str:
    """The `message` of TensorFlow's error in one line, without the names of its operations."""
    message = str(error.message)
    in_graph = re.search(r"(.*)\n\s*\[\[\{\{node", message)
    line = in_graph[1] if in_graph else message.splitlines()[0]
    return re.sub(r"\{\{.*?\}\}|\[Op:.*", "", line).strip()
