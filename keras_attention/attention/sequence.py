"""Sequence attention: mechanisms that are called as `keras.layers.Attention` is."""

import abc

import keras
from keras import ops

from keras_attention import masks
from keras_attention._internal import validation
from keras_attention.attention.base import MemoryAttention


class SequenceAttention(MemoryAttention, abc.ABC):
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

    @abc.abstractmethod
    def build_projections(self, query_shape, value_shape, key_shape):
        """Builds the parts and adds the weights that go with memories of these shapes."""

    def build(self, query_shape, value_shape, key_shape=None):
        _check_shapes(query_shape, value_shape, key_shape)
        self.build_projections(query_shape, value_shape, key_shape or value_shape)

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
        validation.mask("query_mask", query_mask, query.shape[:2], "(batch, queries)")
        validation.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
        validation.mask("key_mask", key_mask, value.shape[:2], "(batch, memory)")
        weights_shape = (*query.shape[:2], value.shape[1])
        validation.broadcastable("attention_mask", attention_mask, weights_shape)
        memory = self.prepare(value, key)
        query_length, memory_length = ops.shape(query)[1], ops.shape(value)[1]
        mask = masks.combine(
            query_mask,
            value_mask,
            key_mask,
            attention_mask,
            masks.causal_mask(query_length, memory_length) if use_causal_mask else None,
        )
        noise = self.sample_noise(query_length, memory, training)
        context, weights, _ = self.attend_sequence(
            query, memory, self.initial_state(memory), noise, mask
        )
        return (context, weights) if return_attention_scores else context

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


def _check_shapes(query_shape, value_shape, key_shape=None):
    validation.rank("query", query_shape, "(batch, queries, width)")
    validation.rank("value", value_shape, "(batch, memory, width)")
    validation.equal("query", query_shape[0], "value", value_shape[0], "batch size")
    if key_shape is not None:
        validation.rank("key", key_shape, "(batch, memory, width)")
        validation.equal("key", key_shape[0], "value", value_shape[0], "batch size")
        validation.equal("key", key_shape[1], "value", value_shape[1], "length")
