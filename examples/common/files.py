"""Files that are never half written."""

import os
from collections.abc import Callable
from pathlib import Path

from examples.common.errors import UserError


def write(path: Path, content: str | bytes) -> None:
    """Writes beside `path` and renames: a reader sees the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    write_with(path, lambda beside: beside.write_bytes(data))


def write_with(path: Path, writer: Callable[[Path], object]) -> None:
    """Like `write`, for a `writer` that takes a path, which ends like the name of `path`."""
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
