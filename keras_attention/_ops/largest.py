"""The few largest entries of a large vocabulary, without sorting all of it."""

from typing import Any

from keras import ops

from keras_attention._ops.take_per_row import take_per_row

_CHUNK = 64  # The maximum of a chunk is one vectorized pass.


def largest(values: Any, count: int) -> tuple:
    """Returns the `count` largest of `values` (N, V) and their indices, as `ops.top_k` does.

    They are in the `count` chunks of a row with the largest maxima, so only these are searched:
    about three times as fast at V = 8,000.
    """
    vocabulary = values.shape[-1]
    if vocabulary <= 2 * _CHUNK * count:
        top, indices = ops.top_k(values, count)
        return top, ops.cast(indices, "int32")
    if vocabulary % _CHUNK:
        values = ops.pad(values, [[0, 0], [0, -vocabulary % _CHUNK]], constant_values=-float("inf"))
    chunks = ops.reshape(values, (-1, values.shape[-1] // _CHUNK, _CHUNK))  # (N, P, W)
    _, chosen = ops.top_k(ops.max(chunks, axis=-1), count)
    # Sorted, so that of equal entries the first comes first.
    chosen = ops.sort(ops.cast(chosen, "int32"), axis=-1)  # (N, C)
    found = take_per_row(chunks, chosen)  # (N, C, W)
    top, indices = ops.top_k(ops.reshape(found, (-1, count * _CHUNK)), count)
    indices = ops.cast(indices, "int32")
    return top, take_per_row(chosen, indices // _CHUNK) * _CHUNK + indices % _CHUNK
