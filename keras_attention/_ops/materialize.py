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
    return False if _compiled_by_xla(query) else batch <= max_batch


def _compiled_by_xla(tensor: Tensor) -> bool:
    """Whether the tensor is TensorFlow's, in a function with `jit_compile=True` or in a part of it.

    There is no public way to ask. Keras has none either.
    """
    graph = getattr(tensor, "graph", None)  # An eager tensor has none.
    while graph is not None:
        context = graph._get_control_flow_context()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False
