"""The key-value cache, with which a block attends one step at a time.

A state is a dict of tensors with the batch first: "keys" and "values" (B, N, max_length, K),
"cache_mask" (B, max_length), the steps that may be attended to, and "position" (B,), the next step.
"""

from typing import Any

from keras import ops

from keras_attention._internal.typing import Tensor
from keras_attention.self_attention.multi_head import SelfAttention


def init_cache(attention: SelfAttention, batch_size: Tensor, max_length: int) -> dict[str, Tensor]:
    """Returns the state before the first step."""
    shape = (batch_size, attention.num_heads, max_length)
    return {
        "keys": ops.zeros((*shape, attention.key_dim), dtype=attention.compute_dtype),
        "values": ops.zeros((*shape, attention.value_dim), dtype=attention.compute_dtype),
        "cache_mask": ops.zeros((batch_size, max_length), dtype="bool"),
        "position": ops.zeros((batch_size,), dtype="int32"),
    }


def cached_self_attention(
    attention: SelfAttention, query: Tensor, state: dict[str, Any], mask: Tensor = None
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Attends to the steps of the cache and to the new one, `query`.

    Args:
        attention: The layer.
        query: (B, 1, D).
        state: The state before this step.
        mask: (B,), False where the step is padding.

    Returns:
        The output (B, 1, D), the weights (B, N, 1, max_length), and the next state.
    """
    position, max_length = state["position"], state["cache_mask"].shape[1]
    _check_capacity(position, max_length)
    keys, values = attention.prepare(query)  # (B, N, 1, K)
    is_current = ops.arange(max_length, dtype="int32")[None] == position[:, None]
    not_padding = ops.ones_like(is_current) if mask is None else ops.cast(mask, "bool")[:, None]
    next_state = {
        **state,
        # `where` and not a slice: it exports everywhere, and each row has its own position.
        "keys": ops.where(is_current[:, None, :, None], keys, state["keys"]),
        "values": ops.where(is_current[:, None, :, None], values, state["values"]),
        "cache_mask": ops.logical_or(state["cache_mask"], ops.logical_and(is_current, not_padding)),
        "position": position + 1,
    }
    allowed = ops.logical_and(next_state["cache_mask"], not_padding)[:, None]  # (B, 1, max_length)
    output, weights = attention.attend(query, next_state["keys"], next_state["values"], allowed)
    # A graph cannot raise the error of a full cache: its outputs are NaN instead.
    fits = (position < max_length)[:, None, None]
    return ops.where(fits, output, float("nan")), weights, next_state


def _check_capacity(position: Tensor, max_length: int) -> None:
    try:
        steps = ops.convert_to_numpy(position).max(initial=0)
    except (NotImplementedError, TypeError):  # in a graph, where the value is unknown
        return
    if steps >= max_length:
        raise ValueError(
            f"`state` holds {steps} steps; expected fewer than `max_length`, {max_length}, "
            "which was given to `begin`."
        )
