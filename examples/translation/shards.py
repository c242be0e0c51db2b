"""Pairs of sentences as ids on disk: encoded once, in compressed files, read as a stream."""

import dataclasses
import itertools
import json
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import final

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from examples.common.errors import UserError
from examples.common.files import write
from examples.common.special import END, START, UNK
from examples.common.tokenizer import Tokenizer
from examples.translation.data import Pair

CHUNK = 1024  # pairs in a record
SHARD = 64  # records in a file
SHUFFLED = 100_000  # pairs, at most, that are drawn from at a time
PACKED = "ZLIB"
SIDES = ("source", "target")


@final
@dataclasses.dataclass(frozen=True)
class Shards:
    """Files of encoded pairs.

    Attributes:
        folder: Where they are.
        files: The name and the size in bytes of each.
        lengths: (S, T), how many pairs have s source and t target tokens, each with [END]; in one
            epoch, if pieces are drawn.
        skipped: How many pairs were too long, and left out.
    """

    folder: Path
    files: list[list]
    lengths: list[list[int]]
    skipped: int

    def histogram(self) -> np.ndarray:
        return np.array(self.lengths)

    def pairs(self, seed=None, sample=None) -> tf.data.Dataset:
        """Each pair once: source ids and [END], target ids between [START] and [END].

        In their order, or shuffled by a seed: first the files, then the pairs of several files.
        With a seed `sample`, made by `sampler`, draws the pieces.
        """
        files = [bytes(self.folder / name) for name, _ in self.files]
        paths = tf.data.Dataset.from_tensor_slices(files)
        if seed is not None:
            paths = paths.shuffle(len(self.files), seed, reshuffle_each_iteration=False)
        records = paths.interleave(
            lambda path: tf.data.TFRecordDataset(path, PACKED),
            cycle_length=1 if seed is None else 8,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        pairs = records.map(lambda record: tf.io.parse_tensor(record, tf.int32)).flat_map(decode)
        if seed is None:
            return pairs
        counts = self.histogram()
        buffer = min(int(counts.sum()), SHUFFLED)
        pairs = pairs.shuffle(buffer, seed, reshuffle_each_iteration=False)

        def draw(*sides):
            given = pack(*sides), seed, np.subtract(counts.shape, 1)
            return decode(tf.numpy_function(sample, given, tf.int32, stateful=False))

        return pairs.ragged_batch(CHUNK).flat_map(draw) if sample else pairs


def load(folder: Path, stamp) -> Shards | None:
    """The shards in `folder`, if they are those of `stamp`, and whole."""
    try:
        found = json.loads((folder / "shards.json").read_text("utf-8"))
        shards = Shards(folder, **found["shards"])
        whole = all((folder / name).stat().st_size == size for name, size in shards.files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shards if whole and found["stamp"] == stamp else None


def save(
    folder: Path, stamp, pairs, size: int, source, target, limit: int, skip: bool, sample=None
) -> Shards:
    """Encodes `size` pairs into `folder`, in place of what it holds.

    Unless `skip`, a pair with more than `limit` tokens on a side is an error. What is written last
    names all files with their sizes, so that a writing that was cut short is no shards. Lengths are
    counted as `sample` draws the pieces for one epoch.
    """
    counts, long, first, paths = np.zeros((limit + 2, limit + 2), "int64"), 0, "", []
    longest = np.zeros(2, "int64")
    chunks = encode(pairs, source, target, limit).as_numpy_iterator()
    console = Console(stderr=True)
    quiet = not console.is_terminal
    chunks = track(chunks, "encoding", -(-size // CHUNK), console=console, disable=quiet)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        while part := list(itertools.islice(chunks, SHARD)):
            paths.append(folder / f"{len(paths):05}.tfrecord")
            with tf.io.TFRecordWriter(str(paths[-1]), PACKED) as file:
                for numbers, lengths, origins in part:
                    file.write(tf.io.serialize_tensor(numbers).numpy())
                    longest = np.maximum(longest, sizes(numbers).max(axis=1, initial=0))
                    drawn = sample(numbers, 0, [limit + 1] * 2) if sample else numbers
                    np.add.at(counts, tuple(sizes(drawn)), 1)
                    over = lengths > limit
                    if over.any() and not long:
                        i, side = np.argwhere(over)[0]
                        tokens = f"the {SIDES[side]} sentence has {lengths[i, side]} tokens"
                        first = f"{origins[i].decode(errors='backslashreplace')}: {tokens}"
                    long += int(over.any(axis=1).sum())
    except (OSError, tf.errors.OpError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.message
        raise UserError(f"{folder}: cannot be written ({reason})") from None
    if long and not skip:
        more = f" (and {long - 1} more pairs)" if long > 1 else ""
        raise UserError(
            f"{first}, the limit is {limit}{more}: raise --max-length, or leave such pairs out "
            "with --skip-long"
        )
    if not counts.any():
        raise UserError(f"no pair has at most {limit} tokens on both sides: raise --max-length")
    files = [[path.name, path.stat().st_size] for path in paths]
    # Sentences may be drawn as they are.
    sources, targets = np.maximum(longest, np.argwhere(counts).max(axis=0)) + 1
    values = {"files": files, "lengths": counts[:sources, :targets].tolist(), "skipped": long}
    shards, text = Shards(folder, **values), json.dumps({"stamp": stamp, "shards": values})
    write(folder / "shards.json", text)
    return shards


def encode(
    pairs: Iterable[Pair], source: Tokenizer, target: Tokenizer, limit: int
) -> tf.data.Dataset:
    """Chunks of pairs as ids, in parallel and in order.

    Each is the numbers of those pairs that have at most `limit` tokens on both sides, the tokens of
    all, (N, 2), and where each comes from.
    """

    def chunks():
        rest = iter(pairs)
        while chunk := list(itertools.islice(rest, CHUNK)):
            yield tuple(map(list, zip(*chunk, strict=True)))

    def to_ids(sources, targets, origins):
        sources = source.encode(source.normalize(sources))
        targets = target.encode(target.normalize(targets))
        lengths = tf.stack([sources.row_lengths(), targets.row_lengths()], axis=1)
        fits = tf.reduce_all(lengths <= limit, axis=1)
        sources, targets = (tf.ragged.boolean_mask(side, fits) for side in (sources, targets))
        column = tf.ones((sources.nrows(), 1), tf.int32)
        sources = tf.concat([sources, END * column], axis=1)
        targets = tf.concat([START * column, targets, END * column], axis=1)
        return pack(sources, targets), lengths, origins

    lines = tf.TensorSpec([None], tf.string)
    read = tf.data.Dataset.from_generator(chunks, output_signature=(lines, lines, lines))
    return read.map(to_ids, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def pack(sources: tf.RaggedTensor, targets: tf.RaggedTensor) -> tf.Tensor:
    """The numbers of a record: how many sentences there are, how long each is, all ids."""
    both = tf.concat([sources, targets], axis=0)
    sizes = tf.cast(both.row_lengths(), tf.int32)
    return tf.concat([[tf.size(sizes)], sizes, both.flat_values], axis=0)


def decode(numbers: tf.Tensor) -> tf.data.Dataset:
    """The pairs of a record."""
    count = numbers[0]
    rows = tf.RaggedTensor.from_row_lengths(numbers[1 + count :], numbers[1 : 1 + count])
    half = tf.cast(count // 2, tf.int64)

    def sequence(row):
        return tf.ensure_shape(rows[row], [None])

    return tf.data.Dataset.range(half).map(lambda row: (sequence(row), sequence(half + row)))


def sizes(numbers: np.ndarray) -> np.ndarray:
    """(2, N): how many source and target tokens the pairs of a record have, each with [END]."""
    return numbers[1 : 1 + numbers[0]].reshape(2, -1) - [[0], [1]]


def sampler(source: Tokenizer, target: Tokenizer, alpha: float) -> Callable:
    """A function of the numbers of a record, a seed and two limits, that draws the pieces anew.

    A sentence stays as it is if it would have more tokens than the limit of its side, with [END],
    or has [UNK], which does not tell its text.
    """
    samplers = source.sampler(alpha), target.sampler(alpha)

    def sample(numbers, seed, limits):
        count, seed = numbers[0], zlib.crc32(numbers.tobytes(), int(seed) % 2**32)
        best = np.split(numbers[1 + count :], np.cumsum(numbers[1:count]))[:count]
        rows = []
        for side in (0, 1):
            old = [row.tolist() for row in best[side * count // 2 :][: count // 2]]
            for row, pieces in zip(old, samplers[side](old, seed + side), strict=True):
                new = [START] * side + pieces + [END]
                rows.append(row if UNK in row or len(new) - side > limits[side] else new)
        flat = itertools.chain([count], map(len, rows), *rows)
        return np.fromiter(flat, "int32")

    return sample
