"""The choice between attention with weights in memory and attention in tiles."""

from keras import backend, ops

from keras_attention._internal.typing import Tensor

# Up to this number of pairs of a query and a key, weights cost less than loops over tiles.
MAX_PAIRS = 256 * 256
# On TensorFlow they also do up to this number of weights, 64 MB in float32.
MAX_WEIGHTS = 2**24


def may_materialize(query: Tensor, key: Tensor) -> Tensor:
    """Returns whether to hold the weights (B, N, T, S).

    It is a bool, or a tensor if only a run knows whether the batch is small enough.
    """
    batch, heads, length, _ = ops.shape(query)
    pairs = length * ops.shape(key)[2]
    if isinstance(batch, int) and batch == 0:
        return True
    if not isinstance(pairs, int):  # Elsewhere only an export has lengths that are unknown.
        return backend.backend() != "tensorflow"
    if pairs <= MAX_PAIRS or backend.backend() != "tensorflow":
        return pairs <= MAX_PAIRS
    max_batch = MAX_WEIGHTS // (heads * pairs)
    if isinstance(batch, int) or max_batch == 0:
        return isinstance(batch, int) and batch <= max_batch
    # XLA has no gradient of a choice whose branches keep tensors of different shapes for it.
    return False if _compiled_by_xla() else batch <= max_batch


def _compiled_by_xla() -> bool:
    """Whether TensorFlow traces a function with `jit_compile=True`, or one that it calls."""
    from tensorflow.python.framework import ops as tf_ops
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(tf_ops.get_default_graph())
