"""The pointer-generator: a mixture of a distribution over words and the attention weights.

Shapes: B batch, T decoder steps, S source steps, D, H and X sizes of features, V vocabulary.
"""

from typing import Any, final

import keras
from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense


@final
@keras.saving.register_keras_serializable("keras_attention")
class PointerGenerator(SavedSublayers):
    """Generates words from the vocabulary or copies words from the source.

        p_gen = sigmoid(w_h . h*_t + w_s . s_t + w_x . x_t + b)
        P(w) = p_gen P_vocab(w) + (1 - p_gen) sum_{i: w_i = w} a^t_i        (section 2.2)

    Source words that are not in the vocabulary can be copied like any other word. They have the ids
    V, V + 1, ..., V + extra_ids - 1 in `source_ids` and in the labels, assigned separately for each
    example. The embeddings of the encoder and the decoder have only V entries, so for these words
    their inputs contain the id of "unknown".

    Variables: `context_kernel` (D, 1) is w_h, `state_kernel` (H, 1) is w_s, `input_kernel` (X, 1)
    is w_x and `bias` (1,) is b.

    Args:
        extra_ids: Number of ids beyond the vocabulary, for source words that are not in it.
        kernel_initializer: Initializer of the kernels. The bias starts at zero.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        probabilities: (B, T, V), P_vocab, the softmax of the model's head.
        weights: (B, T, S), a^t, the attention weights that decoders and attention layers return.
        source_ids: (B, S), integers, w_i. Ids outside of 0 to V + extra_ids - 1 are never copied.
        context: (B, T, D), h*_t.
        state: (B, T, H), the outputs s_t of the decoder.
        inputs: (B, T, X), the inputs x_t of the decoder.

    Returns:
        The probabilities (B, T, V + extra_ids). In mixed precision, give this layer
        `dtype="float32"`, as Keras recommends for every layer that returns probabilities.

    Masking: source padding already has weight 0, so nothing is copied from it, whatever its id is.
    The mask of `probabilities` is passed on.

    Raises:
        ValueError: If `extra_ids` is not an integer of at least 0, or shapes do not match.

    Example:

    >>> mixture = ka.PointerGenerator(extra_ids=2)
    >>> vocabulary = weights = np.array([[[0.25, 0.25, 0.5]]])
    >>> features = [np.zeros((1, 1, 7)), np.zeros((1, 1, 5)), np.zeros((1, 1, 11))]
    >>> source_ids = np.array([[1, 3, 1]])
    >>> np.array(mixture(vocabulary, weights, source_ids, *features))[0, 0].tolist()
    [0.125, 0.5, 0.25, 0.125, 0.0]

    Reference: See, Liu, Manning 2017, "Get To The Point: Summarization with Pointer-Generator
    Networks", arXiv:1704.04368, section 2.2.
    """

    def __init__(
        self,
        extra_ids: int = 0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.extra_ids = validation.non_negative_integer("extra_ids", extra_ids)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.supports_masking = True

    def build(
        self,
        probabilities_shape: Shape,
        weights_shape: Shape,
        source_ids_shape: Shape,
        context_shape: Shape,
        state_shape: Shape,
        inputs_shape: Shape,
    ) -> None:
        self.context_kernel = add_kernel(self, "context_kernel", (context_shape[-1], 1))
        self.state_kernel = add_kernel(self, "state_kernel", (state_shape[-1], 1))
        self.input_kernel = add_kernel(self, "input_kernel", (inputs_shape[-1], 1))
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")

    def call(
        self,
        probabilities: Tensor,
        weights: Tensor,
        source_ids: Tensor,
        context: Tensor,
        state: Tensor,
        inputs: Tensor,
    ) -> Tensor:
        tensors = probabilities, weights, source_ids, context, state, inputs
        _validate_shapes(*(tensor.shape for tensor in tensors))
        p_gen = ops.sigmoid(
            dense(context, ops.cast(self.context_kernel, self.compute_dtype))
            + dense(state, ops.cast(self.state_kernel, self.compute_dtype))
            + dense(inputs, ops.cast(self.input_kernel, self.compute_dtype))
            + ops.cast(self.bias, self.compute_dtype)
        )  # (B, T, 1)
        size = probabilities.shape[-1] + self.extra_ids
        vocabulary_part = ops.pad(p_gen * probabilities, [[0, 0], [0, 0], [0, self.extra_ids]])
        return vocabulary_part + copy_distribution(weights * (1 - p_gen), source_ids, size)

    def compute_output_shape(
        self,
        probabilities_shape: Shape,
        weights_shape: Shape,
        source_ids_shape: Shape,
        context_shape: Shape,
        state_shape: Shape,
        inputs_shape: Shape,
    ) -> Shape:
        _validate_shapes(
            probabilities_shape,
            weights_shape,
            source_ids_shape,
            context_shape,
            state_shape,
            inputs_shape,
        )
        return (*probabilities_shape[:2], probabilities_shape[-1] + self.extra_ids)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "extra_ids": self.extra_ids,
            **kernel_config(self),
        }


def copy_distribution(weights: Tensor, source_ids: Tensor, size: int) -> Tensor:
    """Returns sum_{i: w_i = w} a_i for each word w < `size`.

    Args:
        weights: (B, T, S).
        source_ids: (B, S), integers; ids outside of 0 .. `size` - 1 are ignored.
        size: Static number of words.

    Returns:
        (B, T, size), summed in at least float32 and without a tensor of size S x `size`.
    """
    dtype = backend.standardize_dtype(weights.dtype)
    batch, steps, _ = ops.shape(weights)
    ids = ops.cast(source_ids, "int32")
    is_word = ops.logical_and(ids >= 0, ids < size)
    weights = ops.where(ops.expand_dims(is_word, 1), weights, 0)
    weights = ops.cast(weights, at_least_float32(dtype))
    # Each word of an example is a row, to which each source position adds its weights of all steps.
    rows = ops.where(is_word, ids, 0) + size * ops.expand_dims(ops.arange(batch, dtype="int32"), 1)
    positions = ops.reshape(ops.transpose(weights, (0, 2, 1)), (-1, steps))  # (B * S, T)
    sums = ops.segment_sum(positions, ops.reshape(rows, (-1,)), batch * size)  # (B * size, T)
    sums = ops.transpose(ops.reshape(sums, (batch, size, steps)), (0, 2, 1))
    return ops.cast(sums, dtype)


def _validate_shapes(*shapes: Shape) -> None:
    """Validates the shapes of the call arguments, in their order."""
    probabilities, weights, source_ids, context, state, inputs = shapes
    validation.rank("weights", weights, "(batch, steps, memory)")
    validation.rank("source_ids", source_ids, "(batch, memory)")
    validation.equal("source_ids", source_ids[0], "weights", weights[0], "batch size")
    validation.equal("source_ids", source_ids[1], "weights", weights[2], "memory length")
    for argument, shape, last_axis in (
        ("probabilities", probabilities, "vocabulary"),
        ("context", context, "width"),
        ("state", state, "width"),
        ("inputs", inputs, "width"),
    ):
        validation.rank(argument, shape, f"(batch, steps, {last_axis})")
        validation.equal(argument, shape[0], "weights", weights[0], "batch size")
        validation.equal(argument, shape[1], "weights", weights[1], "length")
