"""Files that are never half there."""

import os
from collections.abc import Callable
from pathlib import Path

from examples.common.errors import UserError


def write(path: Path, content: str | bytes) -> None:
    """Writes beside `path` and renames: whoever looks sees the old file or the new one."""
    write_with(path, lambda beside: beside.write_bytes(_bytes(content)))


def write_with(path: Path, writer: Callable[[Path], object]) -> None:
    """Like `write`, for a `writer` that wants a path; it ends as the name of `path` does."""
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer(beside)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
