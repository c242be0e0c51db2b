"""A query (B, D): one step without the axis of steps, which layers have inside only."""

from typing import Any

from keras import ops

from keras_attention._internal.typing import Shape, Tensor


def add_axis(
    query: Tensor, query_mask: Tensor = None, attention_mask: Tensor = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a query (B, D), its mask (B,) and the mask (B, S) of its memory as those of T = 1.

    They become (B, 1, D), (B, 1) and (B, 1, S). Those of a sequence (B, T, D) stay as they are.
    """
    if len(query.shape) == 3:
        return query, query_mask, attention_mask
    query_mask = None if query_mask is None else ops.expand_dims(query_mask, 1)
    attention_mask = None if attention_mask is None else ops.expand_dims(attention_mask, -2)
    return ops.expand_dims(query, 1), query_mask, attention_mask


def add_axis_to_shape(query_shape: Shape) -> tuple:
    """Returns the shape (B, D) of a query as (B, 1, D); that of a sequence stays as it is."""
    batch_size, *steps, dim = query_shape
    return (batch_size, *(steps or [1]), dim)


def remove_axis(query_shape: Shape, *results: Tensor) -> Any:
    """Returns `results` (..., T, D), or None, as (..., D) if the query of this shape has no T."""
    if len(query_shape) == 3:
        return results
    # Not `squeeze`: in a graph the size of the axis may be unknown.
    return tuple(None if x is None else x[..., 0, :] for x in results)
