"""The key-value cache, with which a layer attends to its own past, step by step.

A state is a dict of tensors with the batch first: "keys" (B, N, max_length, K) and "values" (B, N,
max_length, V) of N heads; "cache_mask" (B, max_length), True for steps that may be attended to; and
"position" (B,), the index of the next step.
"""

import abc
from typing import Any

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.typing import Tensor


class CachedAttention(keras.layers.Layer, abc.ABC):
    """Abstract: causal self-attention that runs step by step, or over a whole prompt at once."""

    def begin(self, batch_size: Tensor, max_length: int) -> dict[str, Tensor]:
        """Returns the state before the first of at most `max_length` steps."""
        validation.built(self)
        return init_cache(self, batch_size, validation.positive_integer("max_length", max_length))

    def step(
        self, query: Tensor, state: dict[str, Any], mask: Tensor = None
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Runs one step, which attends to itself and to the steps before it.

        Args:
            query: (B, Dq).
            state: From `begin`, `prefill` or the last step.
            mask: (B,), False where the step is padding.

        Returns:
            The output (B, D), the weights (B, num_heads, max_length), and the next state.

        Raises:
            ValueError: If the cache is full. In a graph, the outputs are NaN instead.
        """
        query = ops.convert_to_tensor(query, dtype=self.compute_dtype)
        query, mask = first_step("query", query, "mask", mask)
        output, weights, state = attend_to_cache(self, query, state, mask, return_weights=True)
        return output[:, 0], weights[:, :, 0], state

    def prefill(
        self, query: Tensor, state: dict[str, Any], mask: Tensor = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Runs P steps at once, such as a prompt, with the results of P calls of `step`.

        Prompts of a batch may differ in length. To continue each row at the end of its own prompt,
        pad the prompts at their ends, and set "position" of the next state to their lengths (B,).

        Args:
            query: (B, P, Dq).
            state: From `begin` or the last step.
            mask: (B, P), False where a step is padding.

        Returns:
            The outputs (B, P, D) and the next state.

        Raises:
            ValueError: If the cache is full. In a graph, the outputs of steps beyond it are NaN.
        """
        query = ops.convert_to_tensor(query, dtype=self.compute_dtype)
        validation.sequence("query", query.shape)
        mask = validation.mask("mask", mask, query.shape[:2], "(batch, steps)")
        output, _, state = attend_to_cache(self, query, state, mask)
        return output, state


def init_cache(attention: Any, batch_size: Tensor, max_length: int) -> dict[str, Tensor]:
    """Returns the state before the first step."""
    shape = (batch_size, attention.num_heads, max_length)
    return {
        "keys": ops.zeros((*shape, attention.key_dim), dtype=attention.compute_dtype),
        "values": ops.zeros((*shape, attention.value_dim), dtype=attention.compute_dtype),
        "cache_mask": ops.zeros((batch_size, max_length), dtype="bool"),
        "position": ops.zeros((batch_size,), dtype="int32"),
    }


def first_step(
    argument: str, inputs: Tensor, mask_argument: str, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the inputs (B, D) of one step and its mask (B,) as a sequence and its mask."""
    validation.rank(argument, inputs.shape, "(batch, width)")
    mask = validation.mask(mask_argument, mask, inputs.shape[:1], "(batch,)")
    return inputs[:, None], None if mask is None else mask[:, None]


def attend_to_cache(
    attention: Any,
    query: Tensor,
    state: dict[str, Any],
    mask: Tensor = None,
    return_weights: bool = False,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Attends with new steps to the steps in the cache and, causally, to the new ones.

    Args:
        attention: The `ka.SelfAttention`.
        query: (B, P, D), the next P steps.
        state: The state before them.
        mask: (B, P), False where a step is padding.
        return_weights: Whether to return the weights.

    Returns:
        The outputs (B, P, D), the weights (B, N, P, max_length) or None, and the next state.
    """
    position, max_length = state["position"], state["cache_mask"].shape[1]
    if query.shape[1] == 0:  # an empty prompt
        shape = (*ops.shape(query)[:2], attention.output_width or query.shape[-1])
        weights_shape = (shape[0], attention.num_heads, 0, max_length)
        weights = ops.zeros(weights_shape, query.dtype) if return_weights else None
        return ops.zeros(shape, query.dtype), weights, state
    count = ops.shape(query)[1]
    _check_capacity(position, count, max_length)
    slots = ops.arange(max_length, dtype="int32")
    steps = position[:, None] + ops.arange(count, dtype="int32")  # (B, P)
    index = slots - position[:, None]  # (B, max_length), of a slot among the new steps
    is_new = ops.logical_and(index >= 0, index < count)
    index = ops.clip(index, 0, count - 1)
    mask = ops.ones_like(steps, dtype="bool") if mask is None else ops.cast(mask, "bool")

    def write(cache: Tensor, new: Tensor) -> Tensor:  # (B, N, P, K)
        # `where` and not a slice: it exports everywhere, and each row has its own position.
        if new.shape[2] != 1:
            shape = (*ops.shape(new)[:2], max_length, new.shape[3])
            new = ops.take_along_axis(new, ops.broadcast_to(index[:, None, :, None], shape), axis=2)
        return ops.where(is_new[:, None, :, None], new, cache)

    keys, values = attention.prepare(query)
    allowed_new = ops.logical_and(is_new, ops.take_along_axis(mask, index, axis=1))
    next_state = {
        **state,
        "keys": write(state["keys"], keys),
        "values": write(state["values"], values),
        # A slot that is written again holds what is written last.
        "cache_mask": ops.where(is_new, allowed_new, state["cache_mask"]),
        "position": position + count,
    }
    distance = steps[:, :, None] - slots  # (B, P, max_length)
    visible = distance >= 0
    if attention.window is not None:
        visible = ops.logical_and(visible, distance <= attention.window)
    allowed = ops.logical_and(next_state["cache_mask"][:, None], mask[:, :, None])
    output, weights = attention.attend(
        query,
        next_state["keys"],
        next_state["values"],
        ops.logical_and(allowed, visible),
        return_weights,
    )
    # A graph cannot raise the error of a full cache: its outputs are NaN instead.
    fits = (steps < max_length)[:, :, None]
    return ops.where(fits, output, float("nan")), weights, next_state


def _check_capacity(position: Tensor, count: Any, max_length: int) -> None:
    try:
        steps = ops.convert_to_numpy(position).max(initial=0)
    except (NotImplementedError, TypeError):  # in a graph, where the value is unknown
        return
    if steps + count > max_length:
        more = "" if count == 1 else f" and {count} come"
        raise ValueError(
            f"`state` holds {steps} steps{more}; expected at most `max_length`, {max_length}, "
            "which was given to `begin`, in all."
        )
