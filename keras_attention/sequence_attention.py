"""Sequence attention: what every attention of a decoder is, whatever weighs its memory.

`call` attends with all queries at once, as `keras.layers.Attention` does. Decoders use the same
layer step by step: `prepare` once per memory, `initial_state`, then `step` per query.
"""

import abc

import keras
from keras import ops

from keras_attention import checks, masks, recurrence


class SequenceAttention(keras.layers.Layer, abc.ABC):
    """Abstract: context and weights of queries (B, T, Dq) over a memory (B, S, D).

    Call arguments:
        query: (B, T, Dq).
        value: (B, S, Dv), what the context is made of.
        key: (B, S, Dk), what queries are scored against. Defaults to `value`.
        query_mask: (B, T). A masked query gets zero weights and a zero context.
        value_mask, key_mask: (B, S). Both are heeded where both are given.
        attention_mask: (B, T, S) or (T, S).
        training: Whether `dropout` is applied.
        return_attention_scores: Whether to return the weights too.
        use_causal_mask: Whether query `t` sees memory up to `t` only.

    Returns:
        The context (B, T, Dv); with `return_attention_scores` also the weights (B, T, S) after the
        alignment and before dropout.

    Masking: True means "may be attended". Keras fills `query_mask`, `value_mask` and `key_mask`
    with the masks attached to the tensors. The query's mask is passed on.
    """

    def __init__(self, dropout, seed, **kwargs):
        super().__init__(**kwargs)
        self.dropout = checks.fraction("dropout", dropout)
        self.seed = seed
        if dropout:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    @property
    @abc.abstractmethod
    def stepwise(self) -> bool:
        """Whether a query can only be answered after the one before it."""

    @abc.abstractmethod
    def build_weights(self, query_shape, value_shape, key_shape):
        """Builds the parts and adds the weights that go with memories of these shapes."""

    @abc.abstractmethod
    def project(self, key):
        """Returns what queries are scored against, of `key` (B, S, Dk) in the compute dtype."""

    @abc.abstractmethod
    def initial_state(self, memory):
        """Returns the state before the first step, a nest of tensors; `()` if there is none."""

    @abc.abstractmethod
    def draw_alignment_noise(self, shape, training):
        """Returns the noise for weights of `shape` (B, T, S): a tuple of tensors of that shape."""

    @abc.abstractmethod
    def attend(self, query, memory, state, noise, mask=None):
        """Attends with queries (B, T, Dq), only one at a time if `stepwise`.

        Args:
            query, memory, state, noise: As in `step`, with an axis for T.
            mask: Broadcastable to (B, T, S). Defaults to that of the memory.

        Returns:
            The context (B, T, Dv), the weights (B, T, S), the next state.
        """

    def build(self, query_shape, value_shape, key_shape=None):
        _check_shapes(query_shape, value_shape, key_shape)
        self.build_weights(query_shape, value_shape, key_shape or value_shape)

    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=False,
    ):
        _check_shapes(query.shape, value.shape, None if key is None else key.shape)
        checks.mask("query_mask", query_mask, query.shape[:2], "(batch, queries)")
        checks.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
        checks.mask("key_mask", key_mask, value.shape[:2], "(batch, memory)")
        weights_shape = (*query.shape[:2], value.shape[1])
        checks.broadcastable("attention_mask", attention_mask, weights_shape)
        memory = self.prepare(value, key)
        query_length, memory_length = ops.shape(query)[1], ops.shape(value)[1]
        mask = masks.combine(
            query_mask,
            value_mask,
            key_mask,
            attention_mask,
            masks.causal_mask(query_length, memory_length) if use_causal_mask else None,
        )
        noise = self.draw_noise(query_length, memory, training)
        attend = self._attend_stepwise if self.stepwise else self.attend
        context, weights, _ = attend(query, memory, self.initial_state(memory), noise, mask)
        return (context, weights) if return_attention_scores else context

    def prepare(self, value, key=None, value_mask=None):
        """Returns the memory that `step` attends to: work done once, however many the steps."""
        value = ops.convert_to_tensor(value, dtype=self.compute_dtype)
        key = value if key is None else ops.convert_to_tensor(key, dtype=self.compute_dtype)
        memory = {"keys": self.project(key), "value": value}
        if value_mask is not None:
            checks.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
            memory["mask"] = ops.cast(value_mask, "bool")
        return memory

    def draw_noise(self, steps, memory, training=None):
        """Returns the noise of `steps` steps, a nest of tensors (B, steps, S): empty at inference.

        A decoder draws before its loop and passes each step its slice.
        """
        batch, length = ops.shape(memory["value"])[:2]
        shape = (batch, steps, length)
        noise = {"alignment": self.draw_alignment_noise(shape, training)}
        if training and self.dropout:
            ones = ops.ones(shape, dtype=self.compute_dtype)
            noise["dropout"] = keras.random.dropout(ones, self.dropout, seed=self.seed_generator)
        return noise

    def step(self, query, memory, state=(), noise=None):
        """Attends with one query (B, Dq); returns context (B, Dv), weights (B, S), next state."""
        noise = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), noise or {})
        context, weights, state = self.attend(ops.expand_dims(query, 1), memory, state, noise)
        return ops.squeeze(context, 1), ops.squeeze(weights, 1), state

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

        outputs, state = recurrence.walk(step, inputs, state, any_allowed, self.dtype_policy)
        width = memory["value"].shape[-1]
        return outputs[:, :, :width], outputs[:, :, width:], state

    def compute_mask(self, query, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        _check_shapes(query_shape, value_shape, key_shape)
        return (query_shape[0], query_shape[1], value_shape[-1])

    def compute_output_spec(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
        use_causal_mask=False,
    ):
        shape = self.compute_output_shape(
            query.shape, value.shape, None if key is None else key.shape
        )
        context = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return context
        weights_shape = (query.shape[0], query.shape[1], value.shape[1])
        return context, keras.KerasTensor(weights_shape, dtype=self.compute_dtype)

    @abc.abstractmethod
    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout, "seed": self.seed}


def weighted_mean(weights, memory, noise):
    """Returns sum_s a_ts v_s, (B, T, Dv), of weights (B, T, S) after dropout."""
    kept = weights * noise["dropout"] if "dropout" in noise else weights
    return ops.matmul(kept, memory["value"])


def _check_shapes(query_shape, value_shape, key_shape=None):
    checks.rank("query", query_shape, "(batch, queries, width)")
    checks.rank("value", value_shape, "(batch, memory, width)")
    checks.equal("query", query_shape[0], "value", value_shape[0], "batch size")
    if key_shape is not None:
        checks.rank("key", key_shape, "(batch, memory, width)")
        checks.equal("key", key_shape[0], "value", value_shape[0], "batch size")
        checks.equal("key", key_shape[1], "value", value_shape[1], "length")
