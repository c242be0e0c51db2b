"""Pictures: a folder or a tar of them, read in place, and decoded by TensorFlow."""

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
        """Changes whenever the picture does, without reading it."""


def open_images(path: Path) -> Images:
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Tar(path)
    raise UserError(f"{path}: no such folder or tar file of images")


@final
class Folder(Images):
    """The files of a folder and of those below it; a name is the path from the folder on."""

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
    """The files in a tar, which is never extracted: each is read from where it lies."""

    def __init__(self, path: Path):
        self.path = path
        self.places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if not member.isdir():
                        self._add(member)
        except (tarfile.TarError, OSError, ValueError) as error:
            reason = f"not a whole, uncompressed tar: {error}"
            raise UserError(f"{path}: {reason}; a folder is accepted too") from None
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
        if str(name) in self.places:
            raise UserError(f"{self.path}: the member '{member.name}' is there twice")
        self.places[str(name)] = (member.offset_data, member.size)

    def names(self):
        return sorted(self.places)

    def read(self, name):
        offset, size = self.places[name]
        return os.pread(self.file, size, offset)

    def size(self, name):
        return self.places[name][1]

    def stamp(self, name):
        return f"{self.places[name]} {self.status.st_size} {self.status.st_mtime_ns}"


# ---------------------------------------------------------------- in the graph


def encoded(images: Images, names: list[str]) -> tf.data.Dataset:
    """The encoded pictures, scalar strings, in the order of the names."""

    def read(name):
        data = tf.numpy_function(lambda n: images.read(n.decode()), [name], tf.string)
        return tf.ensure_shape(data, ())

    return tf.data.Dataset.from_tensor_slices(names).map(read, tf.data.AUTOTUNE)


def decode(data: tf.Tensor, size: int) -> tf.Tensor:
    """An encoded JPEG or PNG as (size, size, 3) float32 in 0..255: the largest square amid it.

    What is transparent becomes white; a picture of 16 bits keeps them until it is resized.
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
    # The decoders take GIF and BMP too, each in its own way.
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
    # Asked for four channels, the decoder makes up a wrong alpha where a pixel has under 8 bits.
    image = tf.cast(tf.io.decode_png(data, dtype=tf.uint16), tf.float32)
    channels = tf.shape(image)[2]  # 1 to 4; of 2 and 4 the last is alpha
    count = channels - (channels + 1) % 2
    opaque = tf.concat([image, tf.fill(tf.shape(image[..., :1]), 65535.0)], axis=2)
    colours, alpha = opaque[..., :count] / 257, opaque[..., count : count + 1] / 65535
    return tf.repeat(alpha * colours + (1 - alpha) * 255, 3 // count, axis=2)


def check(images: Images, names: list[str]) -> tuple[list[str], list[str]]:
    """The names of the pictures that can be decoded, and of the others."""
    indices = tf.data.Dataset.range(len(names))
    pictures = tf.data.Dataset.zip(indices, encoded(images, names))
    sizes = pictures.map(lambda i, data: (i, tf.size(pixels(data))), tf.data.AUTOTUNE)
    fine = {int(i) for i, _ in sizes.ignore_errors().as_numpy_iterator()}
    return (
        [name for i, name in enumerate(names) if i in fine],
        [name for i, name in enumerate(names) if i not in fine],
    )


def check_picture(data: bytes, path: Path) -> None:
    """Refuses the content of a file that cannot be decoded."""
    if not data.startswith((PNG, JPEG)):
        reason = "it begins like neither" if data else "the file is empty"
        raise UserError(f"{path}: not a JPEG or PNG picture ({reason})")
    try:
        pixels(tf.constant(data))
    except tf.errors.OpError as error:
        # TensorFlow's words, without the names of its operations around them.
        words = re.sub(r"\{\{.*?\}\}|\[.*", "", str(error.message).splitlines()[0]).strip()
        raise UserError(f"{path}: a damaged picture, cannot be decoded ({words})") from None
