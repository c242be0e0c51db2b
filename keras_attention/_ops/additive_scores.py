"""The additive score of tensors, without holding the activations of all pairs, (B, T, S, U).

They are U times as large as the scores. The forward pass is a loop over the units, which adds a
(B, T, S) each. The backward pass is a loop over the queries, which computes (B, S, U) again for
each. Both lengths may be unknown.

Shapes: B batch, T query steps, S memory steps, U units.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

from keras import backend, ops

from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor
from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention._ops.tiling import set_tile
from keras_attention._ops.while_loop import sequential_fori_loop

# Up to this number, 4 MB in float32, the activations are held: loops would cost more.
MAX_DENSE_SIZE = 2**20

Gradients: TypeAlias = tuple[Tensor, Tensor, Tensor]


def additive_scores(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """Returns sum_u v_u tanh(q_tu + k_su), (B, T, S), in the dtype of `query`.

    Forward and backward take the memory of a few (B, T, S), (B, T, U) and (B, S, U). The sums run
    in at least float32.

    Args:
        query: (B, T, U), projected.
        keys: (B, S, U), projected.
        vector: (U,).
    """
    dtype = backend.standardize_dtype(query.dtype)
    accumulation_dtype = at_least_float32(dtype)
    tensors = [ops.cast(x, accumulation_dtype) for x in (query, keys, vector)]
    tensors[2] = tensors[2] * 1.0  # A custom gradient takes a tensor, but not a variable.
    if query.shape[1] == 1:  # as in the loop of a decoder, which would hold (B, S, U) of each step
        scores = _single_query(*tensors)
    else:
        is_small = num_activations(query, keys) <= MAX_DENSE_SIZE
        if isinstance(is_small, bool):
            scores = (dense_scores if is_small else looped_scores)(*tensors)
        else:
            scores = _scores_of_unknown_shapes(*tensors)
    return ops.cast(scores, dtype)


def dense_scores(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """As `additive_scores`, from the activations (B, T, S, U), which the gradient keeps."""
    return ops.einsum("btsu,u->bts", _activations(query, keys), vector)


def _dense_gradients(query: Tensor, keys: Tensor, vector: Tensor, d_scores: Tensor) -> Gradients:
    d_scores = ops.expand_dims(d_scores, 3)
    hidden = _activations(query, keys)
    d_tanh = d_scores * (1 - hidden * hidden)
    d_vector = ops.sum(d_scores * hidden, (0, 1, 2))
    return ops.sum(d_tanh, 2) * vector, ops.sum(d_tanh, 1) * vector, d_vector


def _activations(query: Tensor, keys: Tensor) -> Tensor:
    return ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))  # (B, T, S, U)


@custom_gradient
def looped_scores(query: Tensor, keys: Tensor, vector: Tensor) -> tuple[Tensor, Callable]:
    """As `additive_scores`, in loops."""
    gradients = functools.partial(_backward_over_queries, query, keys, vector)
    return _forward_over_units(query, keys, vector), gradients


@custom_gradient
def _scores_of_unknown_shapes(
    query: Tensor, keys: Tensor, vector: Tensor
) -> tuple[Tensor, Callable]:
    """As `additive_scores`, where the sizes are known in the run only.

    Around the branches, since TensorFlow cannot differentiate a function that holds a custom
    gradient inside of one.
    """
    tensors = query, keys, vector
    is_small = num_activations(query, keys) <= MAX_DENSE_SIZE

    def gradients(d_scores: Tensor) -> Gradients:
        return ops.cond(
            is_small,
            lambda: _dense_gradients(*tensors, d_scores),
            lambda: _backward_over_queries(*tensors, d_scores),
        )

    scores = ops.cond(is_small, lambda: dense_scores(*tensors), lambda: looped_scores(*tensors))
    return scores, gradients


def _forward_over_units(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    queries, keys = ops.transpose(query, (2, 0, 1)), ops.transpose(keys, (2, 0, 1))

    def add(unit: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
        pre_activation = ops.expand_dims(queries[unit], 2) + ops.expand_dims(keys[unit], 1)
        return (state[0] + vector[unit] * ops.tanh(pre_activation),)  # (B, T, S)

    _, batch, steps = ops.shape(queries)
    scores = ops.zeros((batch, steps, ops.shape(keys)[2]), dtype=query.dtype)
    return sequential_fori_loop(0, vector.shape[0], add, (scores,))[0]


def _backward_over_queries(
    query: Tensor, keys: Tensor, vector: Tensor, d_scores: Tensor
) -> Gradients:
    queries, d_scores = ops.transpose(query, (1, 0, 2)), ops.transpose(d_scores, (1, 0, 2))

    def add(step: Tensor, gradients: Gradients) -> Gradients:
        d_queries, d_keys, d_vector = gradients
        d_query, *others = _query_gradients(queries[step], keys, d_scores[step])
        return set_tile(d_queries, step, d_query), d_keys + others[0], d_vector + others[1]

    start = ops.zeros_like(queries), ops.zeros_like(keys), ops.sum(ops.zeros_like(query), 1)
    gradients = sequential_fori_loop(0, ops.shape(queries)[0], add, start)
    d_queries, d_keys, d_vector = gradients
    return ops.transpose(d_queries, (1, 0, 2)) * vector, d_keys * vector, ops.sum(d_vector, 0)


@custom_gradient
def _single_query(query: Tensor, keys: Tensor, vector: Tensor) -> tuple[Tensor, Callable]:
    def gradients(d_scores: Tensor) -> Gradients:
        d_query, d_keys, d_vector = _query_gradients(query[:, 0], keys, d_scores[:, 0])
        return ops.expand_dims(d_query * vector, 1), d_keys * vector, ops.sum(d_vector, 0)

    hidden = ops.tanh(query + keys)  # (B, S, U)
    return ops.expand_dims(ops.einsum("bsu,u->bs", hidden, vector), 1), gradients


def _query_gradients(query: Tensor, keys: Tensor, d_scores: Tensor) -> Gradients:
    """Gradients for one query (B, U) and its scores (B, S).

    Returns those of query and keys, without the factor v, and (B, U) that of v in each example.
    Sums are products of matrices, which are faster.
    """
    hidden = ops.tanh(ops.expand_dims(query, 1) + keys)  # (B, S, U)
    d_tanh = 1 - hidden * hidden
    row = ops.expand_dims(d_scores, 1)  # (B, 1, S)
    d_query = ops.squeeze(ops.matmul(row, d_tanh), 1)
    d_vector = ops.squeeze(ops.matmul(row, hidden), 1)
    return d_query, ops.expand_dims(d_scores, 2) * d_tanh, d_vector


def num_activations(query: Tensor, keys: Tensor) -> Tensor:
    """Returns the size of (B, T, S, U), an integer if the shapes are known."""
    sizes = (*ops.shape(query), ops.shape(keys)[1])
    if not all(isinstance(size, int) for size in sizes):
        sizes = tuple(ops.cast(size, "float32") for size in sizes)  # Integers could overflow.
    return functools.reduce(lambda product, size: product * size, sizes)
