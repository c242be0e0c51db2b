"""Sequence attention: layers that are called like `keras.layers.MultiHeadAttention`."""

import abc
from typing import Any

from keras import ops

from keras_attention import masks
from keras_attention._internal import single_query, validation
from keras_attention._internal.list_call import ListCall
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.typing import Shape, Tensor
from keras_attention.attention.base import MemoryAttention


class SequenceAttention(ListCall, MemoryAttention, abc.ABC):
    """Abstract: an attention layer that is called with queries (B, T, Dq) and a memory (B, S, D).

    For a single query (B, Dq), the context and weights lack the axis T.
    """

    @abc.abstractmethod
    def build_projections(self, query_shape: Shape, value_shape: Shape, key_shape: Shape) -> None:
        """Builds the parts and adds the variables for inputs of these shapes."""

    def build(self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None) -> None:
        _validate_shapes(query_shape, value_shape, key_shape)
        query_shape = single_query.add_axis_to_shape(query_shape)
        self.build_projections(query_shape, value_shape, key_shape or value_shape)

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor = None,
        query_mask: Tensor = None,
        value_mask: Tensor = None,
        key_mask: Tensor = None,
        attention_mask: Tensor = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Attends to a sequence. The arguments are those of `keras.layers.MultiHeadAttention`.

        `layer([query, value, key], mask=[...])`, the call of `keras.layers.Attention`, does the
        same.

        Call arguments:
            query: (B, T, Dq), or (B, Dq) for one step.
            value: (B, S, Dv), what the context is a weighted sum of.
            key: (B, S, Dk), what queries are scored against. Defaults to `value`.
            query_mask: (B, T), or (B,) for one step. A masked query gets zero weights and a zero
                context.
            value_mask, key_mask: (B, S). If both are given, both apply.
            attention_mask: (B, T, S) or (T, S), or (B, S) for one step.
            training: Whether `dropout` is applied.
            return_attention_scores: Whether to return the weights too.
            use_causal_mask: Whether query t attends only to memory steps up to t. Not allowed for
                one step.

        Returns:
            The context (B, T, Dv); with `return_attention_scores` also the weights (B, T, S) after
            the alignment and before dropout. For one step both lack the axis T.

        Masking: True means "may be attended to". Keras fills in `query_mask`, `value_mask` and
        `key_mask` from the masks attached to the tensors. The query's mask is passed on.

        Raises:
            ValueError: If the shapes of the inputs or masks do not fit together, or
                `use_causal_mask` is given for one step.
        """
        _validate_shapes(query.shape, value.shape, None if key is None else key.shape)
        validation.query(query.shape, use_causal_mask)
        query_mask = validation.mask("query_mask", query_mask, query.shape[:-1], "(batch, queries)")
        value_mask = validation.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
        key_mask = validation.mask("key_mask", key_mask, value.shape[:2], "(batch, memory)")
        attention_mask = validation.attention_mask(
            "attention_mask", attention_mask, query.shape, value.shape[1]
        )
        query_shape = query.shape
        query, query_mask, attention_mask = single_query.add_axis(query, query_mask, attention_mask)
        lengths = ops.shape(query)[1], ops.shape(value)[1]
        causal_mask = masks.causal_mask(*lengths) if use_causal_mask else None
        mask = masks.combine(query_mask, value_mask, key_mask, attention_mask, causal_mask)
        results = self.attend_sequence(query, self.prepare(value, key), mask, training)
        context, weights = single_query.remove_axis(query_shape, *results)
        return (context, weights) if return_attention_scores else context

    def compute_output_shape(
        self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None
    ) -> tuple:
        _validate_shapes(query_shape, value_shape, key_shape)
        return (*query_shape[:-1], value_shape[-1])

    def compute_output_spec(
        self, query: Tensor, value: Tensor, key: Tensor = None, *args: Any, **kwargs: Any
    ) -> Any:
        shape = self.compute_output_shape(
            query.shape, value.shape, None if key is None else key.shape
        )
        attention_shape = (*query.shape[:-1], value.shape[1])
        return output_spec(self, shape, attention_shape, query, value, key, *args, **kwargs)


def _validate_shapes(query_shape: Shape, value_shape: Shape, key_shape: Shape | None) -> None:
    validation.query(query_shape)
    validation.rank("value", value_shape, "(batch, memory, width)")
    validation.equal("query", query_shape[0], "value", value_shape[0], "batch size")
    if key_shape is not None:
        validation.rank("key", key_shape, "(batch, memory, width)")
        validation.equal("key", key_shape[0], "value", value_shape[0], "batch size")
        validation.equal("key", key_shape[1], "value", value_shape[1], "length")
