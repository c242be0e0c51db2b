"""Encoded pictures in a folder or an unextracted tar."""

import abc
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import final

import tensorflow as tf

from examples.common.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp")


class Images(abc.ABC):
    """Abstract: encoded pictures by name. Reading is safe from several threads."""

    path: Path

    @abc.abstractmethod
    def names(self) -> list[str]:
        """All names, sorted."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """The encoded picture."""

    @abc.abstractmethod
    def size(self, name: str) -> int:
        """The bytes of the encoded picture."""

    @abc.abstractmethod
    def stamp(self, name: str) -> str:
        """A text that changes with the picture, found without reading it."""


def open_images(path: Path) -> Images:
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Tar(path)
    raise UserError(f"{path}: no such folder or tar file of images")


@final
class Folder(Images):
    """The files of a folder and its subfolders; names are relative paths."""

    def __init__(self, path: Path):
        self.path = path
        self.sizes = {
            file.relative_to(path).as_posix(): file.stat()
            for file in path.rglob("*")
            if file.is_file()
        }

    def names(self):
        return sorted(self.sizes)

    def read(self, name):
        self.sizes[name]  # No name leads out of the folder.
        return (self.path / name).read_bytes()

    def size(self, name):
        return self.sizes[name].st_size

    def stamp(self, name):
        return f"{self.sizes[name].st_size} {self.sizes[name].st_mtime_ns}"


@final
class Tar(Images):
    """The files in a tar, each read at its offset: nothing is extracted."""

    def __init__(self, path: Path):
        self.path = path
        self.members: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if not member.isdir():
                        self._add(member)
        except (tarfile.TarError, OSError, ValueError) as error:
            reason = f"not a whole, uncompressed tar: {error}"
            raise UserError(f"{path}: {reason}; expected such a tar or a folder") from None
        self.file = os.open(path, os.O_RDONLY)
        self.status = os.fstat(self.file)

    def __del__(self):
        if hasattr(self, "file"):
            os.close(self.file)

    def _add(self, member: tarfile.TarInfo) -> None:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise UserError(f"{self.path}: the member '{member.name}' leads out of the folder")
        if not member.isreg() or member.issparse():
            raise UserError(f"{self.path}: the member '{member.name}' is not a plain file")
        if str(name) in self.members:
            raise UserError(f"{self.path}: the member '{member.name}' is there twice")
        self.members[str(name)] = (member.offset_data, member.size)

    def names(self):
        return sorted(self.members)

    def read(self, name):
        offset, size = self.members[name]
        return os.pread(self.file, size, offset)

    def size(self, name):
        return self.members[name][1]

    def stamp(self, name):
        return f"{self.members[name]} {self.status.st_size} {self.status.st_mtime_ns}"


def read_encoded(images: Images, names: list[str]) -> tf.data.Dataset:
    """The encoded pictures, scalar strings, in the order of the names."""

    def read(name):
        data = tf.numpy_function(lambda n: images.read(n.decode()), [name], tf.string)
        return tf.ensure_shape(data, ())

    return tf.data.Dataset.from_tensor_slices(names).map(read, tf.data.AUTOTUNE)
