"""Files that are never half written."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from examples.common.errors import UserError, user_errors


def write(path: Path, content: str | bytes) -> None:
    """Writes beside `path` and renames: a reader sees the old file or the new one."""
    # A file name need not be UTF-8.
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    write_with(path, lambda beside: beside.write_bytes(data))


def write_with(path: Path, writer: Callable[[Path], object]) -> None:
    """Like `write`, for a `writer` that takes a path, which ends like the name of `path`."""
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    with user_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer(beside)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds a folder, which is made, for this process; unless `wait`, another's is refused.

    The system ends a lock with its process, however that ends. What such a one left half written
    is deleted.
    """
    path = folder / "lock"
    with user_errors(path, "written"):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    with file:
        with user_errors(path, "written"):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                file.seek(0)
                holder = file.read().decode()
                raise UserError(f"{folder}: process {holder} is at work in it") from None
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            for kind in ("h5", "npy", "npz"):
                for abandoned in folder.glob(f".*.{kind}"):
                    abandoned.unlink()
        try:
            yield
        finally:
            file.truncate(0)
            if list(folder.iterdir()) == [path]:
                path.unlink()
                folder.rmdir()
