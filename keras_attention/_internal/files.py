"""Files and folders that are replaced as a whole."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def replace(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path for a new file or folder, which replaces `path` if the block succeeds.

    If it fails, `path` stays as it was: it never holds half of the new content.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        new, old = pathlib.Path(folder, "new"), pathlib.Path(folder, "old")
        yield new
        try:
            if new.is_dir() and path.exists():  # a folder replaces empty folders only
                path.rename(old)
            new.replace(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
