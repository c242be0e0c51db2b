"""Pointer networks: the attention weights are the output, a distribution over the memory."""

from typing import Any, final

import keras
from keras import ops

from keras_attention import masks, scores
from keras_attention._internal import single_query, validation
from keras_attention._internal.kernel import kernel_config
from keras_attention._internal.list_call import ListCall
from keras_attention._internal.serialization import build_once
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor


@final
@keras.saving.register_keras_serializable("keras_attention")
class PointerAttention(ListCall, SavedSublayers):
    """Points at positions of its memory: a softmax whose classes are the memory steps.

        u^i_j = v^T tanh(W_1 e_j + W_2 d_i)
        p(C_i | C_1, ..., C_{i-1}, P) = softmax(u^i)                       (section 2.3)

    The output is the distribution itself. Train it with
    `keras.losses.SparseCategoricalCrossentropy()` and positions of the memory as labels. For the
    mean of the memory under these weights (section 2.2), use `ka.BahdanauAttention`, which has the
    same equation. In a pointer network, the queries are the outputs of a decoder, and the decoder's
    next input is the element that was pointed at last. A search calls `prepare` once per memory and
    `step` once per query.

    Variables: `score.query_kernel` (Dq, units) is W_2^T, `score.key_kernel` (Dv, units) is W_1^T
    and `score.score_vector` (units,) is v.

    Args:
        units: Size of the hidden layer.
        kernel_initializer: Initializer of the kernels and of v.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        query: (B, T, Dq), the decoder's outputs d, or (B, Dq) for one step.
        value: (B, S, Dv), the elements e to point at.
        query_mask: (B, T), or (B,) for one step. A masked query points nowhere: its probabilities
            are zero.
        value_mask: (B, S). Masked elements have probability 0.
        attention_mask: (B, T, S) or (T, S), or (B, S) for one step: where each query may point, for
            example only at the elements that are left.

    Returns:
        The probabilities (B, T, S), or (B, S) for one step. In mixed precision, give this layer
        `dtype="float32"`, as Keras recommends for every layer that returns probabilities.

    Masking: True means "may be pointed at". Keras fills in `query_mask` and `value_mask` from the
    masks attached to the tensors. The query's mask is passed on.

    Raises:
        ValueError: If `units` is not a positive integer, or shapes do not match.

    Example:

    >>> pointer = ka.PointerAttention(13)
    >>> probabilities = pointer(np.ones((2, 3, 7)), np.ones((2, 5, 11)))
    >>> tuple(probabilities.shape)
    (2, 3, 5)

    Reference: Vinyals, Fortunato, Jaitly 2015, "Pointer Networks", arXiv:1506.03134, section 2.3.
    """

    def __init__(
        self,
        units: int,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = validation.positive_integer("units", units)
        self.score = scores.Additive(
            units,
            kernel_initializer=kernel_initializer,
            kernel_regularizer=kernel_regularizer,
            kernel_constraint=kernel_constraint,
            dtype=self.dtype_policy,
            name="score",
        )
        self.supports_masking = True

    def build(self, query_shape: Shape, value_shape: Shape) -> None:
        _validate_shapes(query_shape, value_shape)
        build_once(self.score, single_query.add_axis_to_shape(query_shape), value_shape)

    def call(
        self,
        query: Tensor,
        value: Tensor,
        query_mask: Tensor = None,
        value_mask: Tensor = None,
        attention_mask: Tensor = None,
    ) -> Tensor:
        _validate_shapes(query.shape, value.shape)
        query_mask = validation.mask("query_mask", query_mask, query.shape[:-1], "(batch, queries)")
        value_mask = validation.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
        attention_mask = validation.attention_mask(
            "attention_mask", attention_mask, query.shape, value.shape[1]
        )
        query_shape = query.shape
        query, query_mask, attention_mask = single_query.add_axis(query, query_mask, attention_mask)
        mask = masks.combine(query_mask, value_mask, attention_mask=attention_mask)
        scores = self.score(query, self.score.prepare(value))  # (B, T, S)
        return single_query.remove_axis(query_shape, masks.masked_softmax(scores, mask))[0]

    def prepare(self, value: Tensor, value_mask: Tensor = None) -> dict[str, Tensor]:
        """Returns the prepared memory that `step` points into, computed once for all steps."""
        validation.built(self)
        validation.rank("value", value.shape, "(batch, memory, width)")
        value_mask = validation.mask("value_mask", value_mask, value.shape[:2], "(batch, memory)")
        memory = {"keys": self.score.prepare(value)}
        return memory if value_mask is None else {**memory, "mask": ops.cast(value_mask, "bool")}

    def step(self, query: Tensor, memory: dict[str, Tensor], mask: Tensor = None) -> Tensor:
        """Points with one query.

        Args:
            query: (B, Dq), or (B K, Dq) for K beams per example, which share its memory.
            memory: From `prepare`.
            mask: (B, S) or (B K, S), where each query may point. It applies in addition to the
                memory's own mask.

        Returns:
            The probabilities (B, S) or (B K, S).
        """
        batch_size, length = ops.shape(memory["keys"])[:2]
        query = ops.reshape(query, (batch_size, -1, query.shape[-1]))  # (B, K, Dq)
        if mask is not None:
            mask = ops.reshape(mask, (batch_size, -1, length))
        mask = masks.combine(value_mask=memory.get("mask"), attention_mask=mask)
        probabilities = masks.masked_softmax(self.score(query, memory["keys"]), mask)
        return ops.reshape(probabilities, (-1, length))

    def compute_output_shape(self, query_shape: Shape, value_shape: Shape) -> Shape:
        _validate_shapes(query_shape, value_shape)
        return (*query_shape[:-1], value_shape[1])

    def get_config(self) -> Config:
        return {**super().get_config(), "units": self.units, **kernel_config(self.score)}


def _validate_shapes(query_shape: Shape, value_shape: Shape) -> None:
    validation.query(query_shape)
    validation.rank("value", value_shape, "(batch, memory, width)")
    validation.equal("query", query_shape[0], "value", value_shape[0], "batch size")
