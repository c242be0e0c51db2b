"""Pictures in a folder or an unextracted tar, and their decoding by TensorFlow."""

import abc
import os
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import final

import tensorflow as tf

from examples.common.errors import UserError

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


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


# ---------------------------------------------------------------- in the graph


def read_encoded(images: Images, names: list[str]) -> tf.data.Dataset:
    """The encoded pictures, scalar strings, in the order of the names."""

    def read(name):
        data = tf.numpy_function(lambda n: images.read(n.decode()), [name], tf.string)
        return tf.ensure_shape(data, ())

    return tf.data.Dataset.from_tensor_slices(names).map(read, tf.data.AUTOTUNE)


def decode(data: tf.Tensor, size: int) -> tf.Tensor:
    """An encoded JPEG or PNG as (size, size, 3) float32 in 0..255: its central square.

    Transparent pixels become white. 16-bit pictures are resized at full precision.
    """
    image = pixels(data)
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.minimum(height, width)
    square = tf.image.crop_to_bounding_box(
        image, (height - side) // 2, (width - side) // 2, side, side
    )
    return tf.ensure_shape(tf.image.resize(square, (size, size), antialias=True), (size, size, 3))


def pixels(data: tf.Tensor) -> tf.Tensor:
    """An encoded JPEG or PNG as (H, W, 3) float32 in 0..255."""
    # TensorFlow's decoders would also accept GIF and BMP, with other shapes.
    is_png, is_jpeg = (_starts_with(data, start) for start in (PNG, JPEG))
    known = tf.debugging.Assert(is_png | is_jpeg, ["the picture is neither JPEG nor PNG"])
    with tf.control_dependencies([known]):
        image = tf.cond(is_png, lambda: _png(data), lambda: _jpeg(data))
    return tf.ensure_shape(image, (None, None, 3))


def _starts_with(data: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(data, 0, len(start)), start)


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.cast(image, tf.float32)


def _png(data: tf.Tensor) -> tf.Tensor:
    # With channels=4 the decoder returns a wrong alpha for pixels of less than 8 bits.
    image = tf.cast(tf.io.decode_png(data, dtype=tf.uint16), tf.float32)
    channels = tf.shape(image)[2]  # 1 to 4; of 2 and 4 the last is alpha
    count = channels - (channels + 1) % 2
    opaque = tf.concat([image, tf.fill(tf.shape(image[..., :1]), 65535.0)], axis=2)
    colors, alpha = opaque[..., :count] / 257, opaque[..., count : count + 1] / 65535
    return tf.repeat(alpha * colors + (1 - alpha) * 255, 3 // count, axis=2)


def check(images: Images, names: list[str]) -> tuple[list[str], list[str]]:
    """The names of the pictures that can be decoded, and of the others."""
    indices = tf.data.Dataset.range(len(names))
    pictures = tf.data.Dataset.zip(indices, read_encoded(images, names))
    sizes = pictures.map(lambda i, data: (i, tf.size(pixels(data))), tf.data.AUTOTUNE)
    valid = {int(i) for i, _ in sizes.ignore_errors().as_numpy_iterator()}
    return (
        [name for i, name in enumerate(names) if i in valid],
        [name for i, name in enumerate(names) if i not in valid],
    )


def check_picture(data: bytes, path: Path) -> None:
    """Raises UserError if the content of a file cannot be decoded."""
    if not data.startswith((PNG, JPEG)):
        reason = "the first bytes are of neither" if data else "the file is empty"
        raise UserError(f"{path}: not a JPEG or PNG picture ({reason})")
    try:
        pixels(tf.constant(data))
    except tf.errors.OpError as error:
        # TensorFlow's message without the names of its operations.
        words = re.sub(r"\{\{.*?\}\}|\[.*", "", str(error.message).splitlines()[0]).strip()
        raise UserError(f"{path}: a damaged picture, cannot be decoded ({words})") from None
