"""The attention mechanism: the protocol between attention layers and decoders.

A decoder calls `prepare` once per memory, then `initial_state`, then `step` for each query. Shapes:
B batch, T query steps, S memory steps, D features.
"""

import abc
from typing import Any

import keras
from keras import ops

from keras_attention._internal import rnn, validation
from keras_attention._internal.loop_variables import read_variables_once
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Config, Shape, Tensor


class AttentionMechanism(SavedSublayers, abc.ABC):
    """Abstract: computes the context and weights of a query over a memory that is prepared once."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    @property
    def sequential(self) -> bool:
        """Whether each query needs the state that the previous query leaves."""
        return False

    @abc.abstractmethod
    def prepare(self, value: Tensor, key: Tensor = None, value_mask: Tensor = None) -> Any:
        """Returns the prepared memory that `step` attends to. It is computed once for all steps."""

    @abc.abstractmethod
    def initial_state(self, memory: Any) -> Any:
        """Returns the state before the first step: a nest of tensors, or `()` for no state."""

    @abc.abstractmethod
    def attention_shape(self, value_shape: Shape) -> tuple[int | None, ...]:
        """Returns the shape of one query's weights over a value of this shape: (S,) or (H, W).

        Raises:
            ValueError: If the mechanism does not accept a memory of this shape.
        """

    @abc.abstractmethod
    def attend(
        self, query: Tensor, memory: Any, state: Any, noise: Any, mask: Tensor = None
    ) -> tuple[Tensor, Tensor, Any]:
        """Attends with queries (B, T, Dq). If `sequential`, T must be 1.

        Args:
            query, memory, state, noise: As in `step`; `query` and `noise` have an axis for T.
            mask: Broadcastable to (B, T, S). It applies in addition to the mask of the memory.

        Returns:
            The context (B, T, Dv), the weights (B, T, S) and the next state.
        """

    def sample_noise(self, steps: Any, memory: Any, training: bool | None = None) -> Any:
        """Returns the noise of `steps` steps: a nest of tensors (B, steps, ...), none at inference.

        A decoder samples the noise before its loop, and passes each step its slice.
        """
        return {}

    def context_dim(self, value_shape: Shape) -> Any:
        """Returns the size of the context over a value of this shape."""
        return value_shape[-1]

    def step(
        self, query: Tensor, memory: Any, state: Any = (), noise: Any = None
    ) -> tuple[Tensor, Tensor, Any]:
        """Attends with one query (B, Dq).

        Returns:
            The context (B, Dv), the weights (B, S) and the next state.
        """
        validation.built(self)
        noise = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), noise or {})
        context, weights, state = self.attend(ops.expand_dims(query, 1), memory, state, noise)
        return ops.squeeze(context, 1), ops.squeeze(weights, 1), state

    def attend_beams(
        self, query: Tensor, memory: Any, state: Any = (), training: bool | None = None
    ) -> tuple[Tensor, Tensor, Any]:
        """Attends with the queries (B K, Dq) of K beams per example over one memory (B, S, D).

        This is for a mechanism without a state: `state` must hold no tensors.

        Returns:
            What `step` returns, with one row per query, B K rows.
        """
        validation.built(self)
        batch_size = ops.shape(keras.tree.flatten(memory)[0])[0]
        query = ops.reshape(query, (batch_size, -1, query.shape[-1]))  # (B, K, Dq)
        noise = self.sample_noise(ops.shape(query)[1], memory, training) if training else {}
        context, weights, state = self.attend(query, memory, state, noise)
        context = ops.reshape(context, (-1, context.shape[-1]))
        return context, ops.reshape(weights, (-1, ops.shape(weights)[-1])), state


class MemoryAttention(AttentionMechanism, abc.ABC):
    """Abstract: a mechanism over one memory, with dropout on its weights.

    `prepare` returns a dict. Its "value" (B, S, D) is what contexts are made of. If there are any,
    it also holds the "keys" that queries are scored against and the "mask". Feature maps are
    flattened to S = H W positions. An `alignment` that samples gets its noise from `sample_noise`.
    """

    # Whether a value may be a feature map (B, H, W, D) too.
    accepts_feature_maps = False

    def __init__(self, dropout: float, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Not an attribute of the class, which would hide the layer on PyTorch.
        self.alignment: Any = None
        self.dropout = validation.dropout_rate("dropout", dropout)
        self.seed = seed
        if dropout:
            self.seed_generator = keras.random.SeedGenerator(_derive_seed(seed))

    def make_keys(self, key: Tensor) -> Tensor | None:
        """Returns what queries are scored against, made from `key` (B, S, Dk), or None."""
        return None

    def prepare(
        self, value: Tensor, key: Tensor = None, value_mask: Tensor = None
    ) -> dict[str, Tensor]:
        validation.built(self)
        value = ops.convert_to_tensor(value, dtype=self.compute_dtype)
        key = value if key is None else ops.convert_to_tensor(key, dtype=self.compute_dtype)
        if value_mask is not None:
            validate_memory_mask("value_mask", value_mask, value.shape)
            value_mask = ops.cast(value_mask, "bool")
        key, (value, value_mask) = flatten_spatial(key)[0], flatten_spatial(value, value_mask)
        memory = {"keys": self.make_keys(key), "value": value, "mask": value_mask}
        return {name: part for name, part in memory.items() if part is not None}

    def attention_shape(self, value_shape: Shape) -> tuple[int | None, ...]:
        is_list = isinstance(value_shape[0], (list, tuple))
        ranks = (3, 4) if self.accepts_feature_maps else (3,)
        if not is_list and len(value_shape) in ranks:
            return tuple(value_shape[1:-1])
        maps = ", or (batch, height, width, channels)" if self.accepts_feature_maps else ""
        raise ValueError(
            f"`memory` has shape {tuple(value_shape)}; expected (batch, memory, width){maps}."
        )

    def sample_noise(
        self, steps: Any, memory: dict[str, Tensor], training: bool | None = None
    ) -> dict[str, Any]:
        batch_size, length = ops.shape(memory["value"])[:2]
        shape, noise = (batch_size, steps, length), {}
        if self.alignment is not None:
            noise["alignment"] = self.alignment.sample_noise(shape, training)
        if training and self.dropout:
            ones = ops.ones(shape, dtype=self.compute_dtype)
            noise["dropout"] = keras.random.dropout(ones, self.dropout, seed=self.seed_generator)
        return noise

    def attend_sequence(
        self, query: Tensor, memory: dict[str, Tensor], mask: Tensor = None, training: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the context and weights of any number of queries, from the initial state on."""
        noise = self.sample_noise(ops.shape(query)[1], memory, training)
        attend = self._attend_sequentially if self.sequential else self.attend
        return attend(query, memory, self.initial_state(memory), noise, mask)[:2]

    def _attend_sequentially(
        self, query: Tensor, memory: dict[str, Tensor], state: Any, noise: Any, mask: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        inputs, step_mask = {"query": query, "noise": noise}, None
        if mask is not None:
            shape = (*ops.shape(query)[:2], ops.shape(memory["value"])[1])
            inputs["mask"] = ops.broadcast_to(mask, shape)
            # A query with nothing to attend to is no step: the state stays as it was.
            step_mask = ops.any(inputs["mask"], axis=-1)
            inputs["mask"] = ops.cast(inputs["mask"], self.compute_dtype)

        def step(inputs: dict, state: Any) -> tuple:
            inputs = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), inputs)
            mask = inputs["mask"] > 0 if "mask" in inputs else None
            context, weights, state = self.attend(
                inputs["query"], memory, state, inputs["noise"], mask
            )
            return ops.squeeze(context, 1), ops.squeeze(weights, 1), state

        with read_variables_once(self):
            return rnn.scan(step, inputs, state, step_mask, self.dtype_policy)

    def get_config(self) -> Config:
        return {**super().get_config(), "dropout": self.dropout, "seed": self.seed}


def flatten_spatial(value: Tensor, mask: Tensor = None) -> tuple[Tensor, Tensor]:
    """Returns a feature map (B, H, W, D) and its mask as sequences (B, H W, D) and (B, H W).

    A sequence (B, S, D) stays as it is.
    """
    if len(value.shape) == 4:
        batch, height, width, depth = ops.shape(value)
        value = ops.reshape(value, (batch, height * width, depth))
        mask = None if mask is None else ops.reshape(mask, (batch, height * width))
    return value, mask


def validate_memory_mask(argument: str, mask: Tensor, value_shape: Shape) -> None:
    """Checks the mask of a sequence (B, S, D) or of a feature map (B, H, W, D)."""
    axes = "(batch, height, width)" if len(value_shape) == 4 else "(batch, memory)"
    validation.mask(argument, mask, value_shape[:-1], axes)


def weighted_sum(weights: Tensor, memory: dict[str, Tensor], noise: dict[str, Any]) -> Tensor:
    """Returns sum_s a_ts v_s (B, T, Dv), for weights (B, T, S) after dropout."""
    dropped_weights = weights * noise["dropout"] if "dropout" in noise else weights
    return ops.matmul(dropped_weights, memory["value"])


def _derive_seed(seed: int | None) -> int | None:
    # Another seed, so that an alignment with this one does not sample the same numbers.
    return None if seed is None else (seed + 0x9E3779B9) % 2**32
