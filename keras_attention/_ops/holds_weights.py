"""Which attention holds its weights in memory."""

from keras import backend, ops

from keras_attention._internal.typing import Tensor

# Up to this number of pairs of a query and a key, weights cost less than loops over tiles.
MAX_PAIRS = 256 * 256
# On TensorFlow, in a batch of known size, they also do up to this number. Each array of them takes
# 64 MB, and a few exist at once.
MAX_WEIGHTS = 2**24


def holds_weights(query: Tensor, key: Tensor) -> bool:
    """Whether to hold the weights (B, N, T, S)."""
    batch, heads, length, _ = ops.shape(query)
    pairs = length * ops.shape(key)[2]
    if isinstance(batch, int) and batch == 0:
        return True  # Nothing is held.
    if not isinstance(pairs, int):  # Elsewhere only an export has lengths that are unknown.
        return backend.backend() != "tensorflow"
    if pairs <= MAX_PAIRS:
        return True
    # A batch of unknown size may be large. A `cond` would break second gradients.
    is_known = backend.backend() == "tensorflow" and isinstance(batch, int)
    return is_known and batch * heads * pairs <= MAX_WEIGHTS
