"""Features of a frozen encoder: computed once, cached on disk, read as memory-mapped rows."""

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import final

import keras
import numpy as np
import tensorflow as tf
from rich import progress
from rich.text import Text

from examples.captioning.decoding import check, decode_in_graph
from examples.captioning.images import Images, read_encoded
from examples.common.errors import UserError
from examples.common.files import lock, write_with

# Pictures in a file, which are lost by a kill.
SHARD = 256
# Increment it when `decode` or the layout of the files changes.
VERSION = 2


@final
class Features:
    """Features of pictures, read from disk on access.

    `features[i]` is (H, W, C), float16, or the pixels of a picture in uint8.
    """

    def __init__(self, shards: list[np.ndarray]):
        self.shards = shards

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shards[0].shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.shards[0].dtype

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    def __getitem__(self, index: int) -> np.ndarray:
        shard, row = divmod(int(index), SHARD)
        return self.shards[shard][row]

    def take(self, indices: Iterable[int]) -> np.ndarray:
        """The features of several pictures, (N, H, W, C)."""
        return np.stack([self[index] for index in indices])


def compute(
    encoder: keras.Model | int, images: Images, names: list[str], folder: Path, batch_size: int = 32
) -> Features:
    """The features of the named pictures, in this order; pixels if `encoder` is their size.

    They are cached in `folder`, in a subfolder named by a digest of all they depend on: weights of
    the encoder, names and pictures. Each file holds `SHARD` pictures and is written whole, so that
    after a kill only missing or damaged files are computed again.
    """
    folder = folder / fingerprint(encoder, images, names)
    parts = [names[start : start + SHARD] for start in range(0, len(names), SHARD)]
    files = [folder / f"{number:05}.npy" for number in range(len(parts))]
    row = layout(encoder)
    with lock(folder, wait=True):
        missing = [i for i, file in enumerate(files) if _read(file, len(parts[i]), *row) is None]
        if missing:
            encode = _encode_function(encoder)
            with progress.Progress(*_columns()) as bar:
                task = bar.add_task("features", total=sum(len(parts[i]) for i in missing))
                for i in missing:
                    batches = []
                    for batch in _batches(images, parts[i], _size(encoder), batch_size):
                        batches.append(encode(batch).numpy())
                        bar.advance(task, len(batch))
                    rows = np.concatenate(batches)
                    write_with(files[i], lambda beside, rows=rows: np.save(beside, rows))
    return Features([_read(file, len(part), *row) for file, part in zip(files, parts, strict=True)])


def fingerprint(encoder: keras.Model | int, images: Images, names: list[str]) -> str:
    digest = hashlib.sha256(f"{VERSION} {SHARD} {_size(encoder)} {layout(encoder)}\n".encode())
    for weight in [] if isinstance(encoder, int) else encoder.weights:
        digest.update(weight.numpy())
    for name in names:
        digest.update(f"{name}\n{images.stamp(name)}\n".encode())
    return digest.hexdigest()[:16]


def _size(encoder: keras.Model | int) -> int:
    return encoder if isinstance(encoder, int) else encoder.input_shape[1]


def layout(encoder: keras.Model | int) -> tuple[tuple[int, ...], type]:
    """Shape and type of one row."""
    if isinstance(encoder, int):
        return (encoder, encoder, 3), np.uint8
    return encoder.output_shape[1:], np.float16


def _encode_function(encoder: keras.Model | int):
    if isinstance(encoder, int):
        return lambda batch: tf.cast(tf.round(batch), tf.uint8)
    return tf.function(lambda batch: tf.cast(encoder(batch, training=False), tf.float16))


def _read(file: Path, count: int, shape: tuple[int, ...], dtype: type) -> np.ndarray | None:
    """The rows of a file, or None if it is missing or damaged."""
    try:
        rows = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == (count, *shape) and rows.dtype == dtype else None


def _batches(images: Images, names: list[str], size: int, batch_size: int):
    decoded = partial(decode_in_graph, size=size)
    pictures = read_encoded(images, names).map(decoded, tf.data.AUTOTUNE)
    try:
        yield from pictures.batch(batch_size).prefetch(2)
    except tf.errors.OpError:
        bad = check(images, names)[1]
        raise UserError(f"{images.path}: cannot be decoded: {', '.join(bad[:5])}") from None


class _Rate(progress.ProgressColumn):
    def render(self, task):
        return Text(f"{task.speed or 0:.0f}/s")


def _columns():
    return (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        _Rate(),
        progress.TimeRemainingColumn(),
    )
