"""The attention mechanism: what a decoder asks for, step by step or all at once.

`prepare` once per memory, `initial_state`, then `step` per query. Shapes: B batch, T query steps,
S memory steps, D widths.
"""

import abc

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import rnn, validation
from keras_attention._internal.loop_variables import read_variables_once


class AttentionMechanism(keras.layers.Layer, abc.ABC):
    """Abstract: context and weights of a query over a memory that was prepared once."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    @property
    @abc.abstractmethod
    def sequential(self) -> bool:
        """Whether a query can only be answered after the one before it."""

    @abc.abstractmethod
    def prepare(self, value, key=None, value_mask=None):
        """Returns the memory that `step` attends to: work done once, however many the steps."""

    @abc.abstractmethod
    def initial_state(self, memory):
        """Returns the state before the first step, a nest of tensors; `()` if there is none."""

    @abc.abstractmethod
    def sample_noise(self, steps, memory, training=None):
        """Returns the noise of `steps` steps: a nest of tensors (B, steps, ...).

        It is empty at inference. A decoder draws before its loop and passes each step its slice.
        """

    @abc.abstractmethod
    def context_dim(self, value_shape) -> int:
        """Returns the width of the context over a value of this shape."""

    @abc.abstractmethod
    def attention_shape(self, value_shape) -> tuple[int | None, ...]:
        """Returns the shape of a query's weights over a value of this shape: (S,), or (H, W).

        Raises:
            ValueError: It is no shape of a memory that the mechanism takes.
        """

    @abc.abstractmethod
    def attend(self, query, memory, state, noise, mask=None):
        """Attends with queries (B, T, Dq), only one at a time if `sequential`.

        Args:
            query, memory, state, noise: As in `step`, with an axis for T.
            mask: Broadcastable to (B, T, S), beside that of the memory.

        Returns:
            The context (B, T, Dv), the weights (B, T, S), the next state.
        """

    def step(self, query, memory, state=(), noise=None):
        """Attends with one query (B, Dq); returns context (B, Dv), weights (B, S), next state."""
        noise = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), noise or {})
        context, weights, state = self.attend(ops.expand_dims(query, 1), memory, state, noise)
        return ops.squeeze(context, 1), ops.squeeze(weights, 1), state

    def attend_beams(self, query, memory, state=()):
        """Attends with the K queries of each example's beams, (B K, Dq), over one memory (B, S, D).

        Returns what `step` returns, with a row per query. For a mechanism without a state: `state`
        has no tensors.
        """
        batch_size = ops.shape(keras.tree.flatten(memory)[0])[0]
        query = ops.reshape(query, (batch_size, -1, query.shape[-1]))  # (B, K, Dq)
        context, weights, state = self.attend(query, memory, state, {})
        context = ops.reshape(context, (-1, context.shape[-1]))
        return context, ops.reshape(weights, (-1, ops.shape(weights)[-1])), state


class MemoryAttention(AttentionMechanism, abc.ABC):
    """Abstract: a mechanism over one memory, with dropout on its weights.

    What `prepare` returns is a dict whose "value" (B, S, D) the context is made of. A map is a row
    of places from there on, with S = H W.
    """

    # Whether a value may be a map (B, H, W, D) too.
    accepts_feature_maps = False

    def __init__(self, dropout, seed, **kwargs):
        super().__init__(**kwargs)
        self.dropout = validation.dropout_rate("dropout", dropout)
        self.seed = seed
        if dropout:
            self.seed_generator = keras.random.SeedGenerator(_another(seed))

    @abc.abstractmethod
    def sample_alignment_noise(self, shape, training):
        """Returns the noise for weights of `shape` (B, T, S): a tuple of tensors (B, T, ...)."""

    @abc.abstractmethod
    def make_keys(self, key):
        """Returns what queries are scored against, of `key` (B, S, Dk) in the compute dtype."""

    def prepare(self, value, key=None, value_mask=None):
        value = ops.convert_to_tensor(value, dtype=self.compute_dtype)
        key = value if key is None else ops.convert_to_tensor(key, dtype=self.compute_dtype)
        if value_mask is not None:
            validate_memory_mask("value_mask", value_mask, value.shape)
            value_mask = ops.cast(value_mask, "bool")
        key, (value, value_mask) = flatten_spatial(key)[0], flatten_spatial(value, value_mask)
        memory = {"keys": self.make_keys(key), "value": value}
        return memory if value_mask is None else {**memory, "mask": value_mask}

    def context_dim(self, value_shape):
        return value_shape[-1]

    def attention_shape(self, value_shape):
        if len(value_shape) == 3 or (self.accepts_feature_maps and len(value_shape) == 4):
            return tuple(value_shape[1:-1])
        maps = ", or (batch, height, width, channels)" if self.accepts_feature_maps else ""
        raise ValueError(
            f"`memory` has shape {tuple(value_shape)}; expected (batch, memory, width){maps}."
        )

    def sample_noise(self, steps, memory, training=None):
        batch, length = ops.shape(memory["value"])[:2]
        shape = (batch, steps, length)
        noise = {"alignment": self.sample_alignment_noise(shape, training)}
        if training and self.dropout:
            ones = ops.ones(shape, dtype=self.compute_dtype)
            noise["dropout"] = keras.random.dropout(ones, self.dropout, seed=self.seed_generator)
        return noise

    def attend_sequence(self, query, memory, state, noise, mask=None):
        """As `attend`, with any number of queries: one after the other if `sequential`."""
        attend = self._attend_stepwise if self.sequential else self.attend
        return attend(query, memory, state, noise, mask)

    def _attend_stepwise(self, query, memory, state, noise, mask):
        inputs, any_allowed = {"query": query, "noise": noise}, None
        if mask is not None:
            shape = (*ops.shape(query)[:2], ops.shape(memory["value"])[1])
            mask = ops.broadcast_to(mask, shape)
            inputs["mask"] = ops.cast(mask, self.compute_dtype)
            # A query with nothing to attend to is no step: the state stays as it was.
            any_allowed = ops.any(mask, axis=-1)

        def step(inputs, state):
            inputs = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), inputs)
            mask = inputs["mask"] > 0 if "mask" in inputs else None
            context, weights, state = self.attend(
                inputs["query"], memory, state, inputs["noise"], mask
            )
            return ops.squeeze(ops.concatenate([context, weights], axis=-1), 1), state

        with read_variables_once(self):
            outputs, state = rnn.scan(step, inputs, state, any_allowed, self.dtype_policy)
        width = memory["value"].shape[-1]
        return outputs[:, :, :width], outputs[:, :, width:], state

    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout, "seed": self.seed}


def flatten_spatial(value, mask=None):
    """Returns a map (B, H, W, D) and its mask (B, H, W) as places, (B, H W, D) and (B, H W).

    A sequence (B, S, D) stays as it is.
    """
    if len(value.shape) == 4:
        batch, height, width, depth = ops.shape(value)
        value = ops.reshape(value, (batch, height * width, depth))
        mask = None if mask is None else ops.reshape(mask, (batch, height * width))
    return value, mask


def validate_memory_mask(argument, mask, value_shape):
    """Checks the mask of a sequence (B, S, D) or of a map (B, H, W, D)."""
    axes = "(batch, height, width)" if len(value_shape) == 4 else "(batch, memory)"
    validation.mask(argument, mask, value_shape[:-1], axes)


def combined_mask(memory, mask):
    """Returns where both `mask` and the mask of a prepared memory allow attention, or None."""
    return masks.combine(value_mask=memory.get("mask"), attention_mask=mask)


def validate_single_step(layer, query):
    """Refuses several queries (B, T, Dq) where each needs the answer to the one before it."""
    if query.shape[1] not in (1, None):
        raise ValueError(
            f"`query` has shape {tuple(query.shape)}; {type(layer).__name__}.attend expected one "
            "step, (batch, 1, width). Call the layer or a decoder for many steps."
        )


def _another(seed):
    # Equal seeds draw equal numbers, and an alignment may have been given this one.
    return None if seed is None else (seed + 0x9E3779B9) % 2**32


def weighted_sum(weights, memory, noise):
    """Returns sum_s a_ts v_s, (B, T, Dv), of weights (B, T, S) after dropout."""
    kept = weights * noise["dropout"] if "dropout" in noise else weights
    return ops.matmul(kept, memory["value"])
