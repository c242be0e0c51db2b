"""The additive score of tensors, without ever holding the hidden layer of all pairs.

That layer, (B, T, S, U), is U times as large as the scores. Here it is walked: forward unit by
unit, each one (B, T, S), which is a sum in place; backward query by query, each one (B, S, U),
computed again. Both lengths may be unknown, and no slice depends on them.

Shapes: B batch, T query steps, S memory steps, U units.
"""

import functools

from keras import backend, ops

from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention._ops.tiling import put_block
from keras_attention._ops.while_loop import sequential_fori_loop

# A hidden layer of up to so many numbers, 4 MB in float32, is held: loops would cost more.
HELD = 2**20


def additive_scores(query, keys, vector):
    """Returns sum_u v_u tanh(q_tu + k_su), (B, T, S), in the dtype of `query`.

    Forward and backward take the memory of a few (B, T, S), (B, T, U) and (B, S, U). The sums run
    in at least float32.

    Args:
        query: (B, T, U), projected.
        keys: (B, S, U), projected.
        vector: (U,).
    """
    dtype = backend.standardize_dtype(query.dtype)
    wide = backend.result_type(dtype, "float32")
    # The product makes a tensor of a variable, which no custom gradient takes.
    tensors = [ops.cast(query, wide), ops.cast(keys, wide), ops.cast(vector, wide) * 1.0]
    if query.shape[1] == 1:  # as in a decoder's loop, which would hold (B, S, U) for each step
        scores = _of_one_query(*tensors)
    else:
        held = hidden_size(query, keys) <= HELD
        if isinstance(held, bool):
            scores = (held_scores if held else walked_scores)(*tensors)
        else:  # The shapes are known when it runs only.
            scores = ops.cond(held, lambda: _held(*tensors), lambda: walked_scores(*tensors))
    return ops.cast(scores, dtype)


def held_scores(query, keys, vector):
    """As `additive_scores`, by the equation: with (B, T, S, U), which the gradient keeps."""
    hidden = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))  # (B, T, S, U)
    return ops.einsum("btsu,u->bts", hidden, vector)


@custom_gradient
def _held(query, keys, vector):
    """With gradients by hand: in a branch, XLA compiles no sum over axes it finds out itself."""

    def gradients(upstream):
        upstream = ops.expand_dims(upstream, 3)
        hidden = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))  # (B, T, S, U)
        slope = upstream * (1 - hidden * hidden)
        of_vector = ops.sum(upstream * hidden, (0, 1, 2))
        return ops.sum(slope, 2) * vector, ops.sum(slope, 1) * vector, of_vector

    return held_scores(query, keys, vector), gradients


@custom_gradient
def walked_scores(query, keys, vector):
    """As `additive_scores`, in loops."""
    gradients = functools.partial(_walk_queries, query, keys, vector)
    return _walk_units(query, keys, vector), gradients


def _walk_units(query, keys, vector):
    queries, keys = ops.transpose(query, (2, 0, 1)), ops.transpose(keys, (2, 0, 1))

    def add(unit, state):
        now = ops.expand_dims(queries[unit], 2) + ops.expand_dims(keys[unit], 1)  # (B, T, S)
        return (state[0] + vector[unit] * ops.tanh(now),)

    _, batch, steps = ops.shape(queries)
    scores = ops.zeros((batch, steps, ops.shape(keys)[2]), dtype=query.dtype)
    return sequential_fori_loop(0, vector.shape[0], add, (scores,))[0]


def _walk_queries(query, keys, vector, upstream):
    queries, upstream = ops.transpose(query, (1, 0, 2)), ops.transpose(upstream, (1, 0, 2))

    def add(step, gradients):
        of_queries, of_keys, of_vector = gradients
        of_query, of_keys_here, of_vector_here = _gradients(queries[step], keys, upstream[step])
        of_queries = put_block(of_queries, step, of_query)
        return of_queries, of_keys + of_keys_here, of_vector + of_vector_here

    start = ops.zeros_like(queries), ops.zeros_like(keys), ops.sum(ops.zeros_like(query), 1)
    gradients = sequential_fori_loop(0, ops.shape(queries)[0], add, start)
    of_queries, of_keys, of_vector = gradients
    return ops.transpose(of_queries, (1, 0, 2)) * vector, of_keys * vector, ops.sum(of_vector, 0)


@custom_gradient
def _of_one_query(query, keys, vector):
    def gradients(upstream):
        of_query, of_keys, of_vector = _gradients(query[:, 0], keys, upstream[:, 0])
        return ops.expand_dims(of_query * vector, 1), of_keys * vector, ops.sum(of_vector, 0)

    hidden = ops.tanh(query + keys)  # (B, S, U)
    return ops.expand_dims(ops.einsum("bsu,u->bs", hidden, vector), 1), gradients


def _gradients(query, keys, upstream):
    """Of one query (B, U) with upstream (B, S): those of query and keys but for v, that of v.

    The products of matrices are the fast way to sum, and the last sum, over B, is the caller's.
    """
    hidden = ops.tanh(ops.expand_dims(query, 1) + keys)  # (B, S, U)
    slope = 1 - hidden * hidden
    row = ops.expand_dims(upstream, 1)  # (B, 1, S)
    of_query = ops.squeeze(ops.matmul(row, slope), 1)
    of_vector = ops.squeeze(ops.matmul(row, hidden), 1)
    return of_query, ops.expand_dims(upstream, 2) * slope, of_vector


def hidden_size(query, keys):
    """How many numbers (B, T, S, U) has: an integer where the shapes are known."""
    sizes = (*ops.shape(query), ops.shape(keys)[1])
    if not all(isinstance(size, int) for size in sizes):
        sizes = tuple(ops.cast(size, "float32") for size in sizes)  # No overflow.
    product = 1
    for size in sizes:
        product = product * size
    return product
