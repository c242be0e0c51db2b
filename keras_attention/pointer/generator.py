"""The pointer-generator: attention as a part of the answer, a distribution over words.

Shapes: B batch, T decoder steps, S source steps, D, H, X widths, V vocabulary.
"""

from typing import final

import keras
from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._internal.serialization import clone_initializer
from keras_attention._ops.dense import dense


@final
@keras.saving.register_keras_serializable("keras_attention")
class PointerGenerator(keras.layers.Layer):
    """Writes words of its vocabulary, or copies words that it attends to.

        p_gen = sigmoid(w_h . h*_t + w_s . s_t + w_x . x_t + b)
        P(w) = p_gen P_vocab(w) + (1 - p_gen) sum_{i: w_i = w} a^t_i        (section 2.2)

    Words of a source that the vocabulary lacks get the ids V, V + 1, ..., V + extra_ids - 1, anew
    in each example, in `source_ids` and in the labels. So they can be copied like any other word;
    the embeddings of encoder and decoder, which end at V, read "unknown" in their place.

    Weights: `context_kernel` (D, 1) is w_h, `state_kernel` (H, 1) w_s, `input_kernel` (X, 1) w_x,
    `bias` (1,) b.

    Args:
        extra_ids: How many ids beyond the vocabulary there are for words of a source.
        kernel_initializer: Initializer of the kernels; the bias starts at zero.

    Call arguments:
        probabilities: (B, T, V), P_vocab: the softmax of the model's head.
        weights: (B, T, S), the attention scores that decoders and attention layers return.
        source_ids: (B, S), integers. Ids outside of 0 .. V + extra_ids - 1 are never copied.
        context: (B, T, D), h*.
        state: (B, T, H), the outputs of the decoder.
        inputs: (B, T, X), the inputs of the decoder.

    Returns:
        The probabilities (B, T, V + extra_ids). In mixed precision, give this layer
        `dtype="float32"`, as Keras advises for every layer of probabilities.

    Masking: padding of the source has weight 0 already, so whatever its id, nothing is copied
    from there. The mask of `probabilities` is passed on.

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

    def __init__(self, extra_ids=0, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.extra_ids = (
            validation.positive_integer("extra_ids", extra_ids) if extra_ids != 0 else 0
        )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(
        self,
        probabilities_shape,
        weights_shape,
        source_ids_shape,
        context_shape,
        state_shape,
        inputs_shape,
    ):
        _check(
            probabilities_shape,
            weights_shape,
            source_ids_shape,
            context_shape,
            state_shape,
            inputs_shape,
        )

        def add(name, width):
            initializer = clone_initializer(self.kernel_initializer)
            return self.add_weight(name=name, shape=(width, 1), initializer=initializer)

        self.context_kernel = add("context_kernel", context_shape[-1])
        self.state_kernel = add("state_kernel", state_shape[-1])
        self.input_kernel = add("input_kernel", inputs_shape[-1])
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")

    def call(self, probabilities, weights, source_ids, context, state, inputs):
        tensors = probabilities, weights, source_ids, context, state, inputs
        _check(*(tensor.shape for tensor in tensors))
        generated = ops.sigmoid(
            dense(context, ops.cast(self.context_kernel, self.compute_dtype))
            + dense(state, ops.cast(self.state_kernel, self.compute_dtype))
            + dense(inputs, ops.cast(self.input_kernel, self.compute_dtype))
            + ops.cast(self.bias, self.compute_dtype)
        )  # (B, T, 1)
        size = probabilities.shape[-1] + self.extra_ids
        copied = word_weights(weights * (1 - generated), source_ids, size)
        written = ops.pad(generated * probabilities, [[0, 0], [0, 0], [0, self.extra_ids]])
        return written + copied

    def compute_mask(self, probabilities, previous_mask=None):
        return previous_mask

    def compute_output_shape(
        self,
        probabilities_shape,
        weights_shape,
        source_ids_shape,
        context_shape,
        state_shape,
        inputs_shape,
    ):
        _check(
            probabilities_shape,
            weights_shape,
            source_ids_shape,
            context_shape,
            state_shape,
            inputs_shape,
        )
        return (*probabilities_shape[:2], probabilities_shape[-1] + self.extra_ids)

    def get_config(self):
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {
            **super().get_config(),
            "extra_ids": self.extra_ids,
            "kernel_initializer": initializer,
        }


def word_weights(weights, source_ids, size):
    """Returns sum_{i: w_i = w} a_i for each word w < `size`.

    Args:
        weights: (B, T, S).
        source_ids: (B, S), integers; those that are no word count for none.
        size: Static number of words.

    Returns:
        (B, T, size). The sums run in at least float32, and nothing of size S x `size` is made.
    """
    dtype = backend.standardize_dtype(weights.dtype)
    batch, steps, _ = ops.shape(weights)
    ids = ops.cast(source_ids, "int32")
    is_word = ops.logical_and(ids >= 0, ids < size)
    weights = ops.where(ops.expand_dims(is_word, 1), weights, 0)
    weights = ops.cast(weights, backend.result_type(dtype, "float32"))
    # A word of an example is a row, into which each source position adds its weights of all steps.
    rows = ops.where(is_word, ids, 0) + size * ops.expand_dims(ops.arange(batch, dtype="int32"), 1)
    positions = ops.reshape(ops.transpose(weights, (0, 2, 1)), (-1, steps))  # (B * S, T)
    sums = ops.segment_sum(positions, ops.reshape(rows, (-1,)), batch * size)  # (B * size, T)
    sums = ops.transpose(ops.reshape(sums, (batch, size, steps)), (0, 2, 1))
    return ops.cast(sums, dtype)


def _check(probabilities, weights, source_ids, context, state, inputs):
    """Checks the shapes of the call's arguments."""
    validation.rank("weights", weights, "(batch, steps, memory)")
    validation.rank("source_ids", source_ids, "(batch, memory)")
    validation.equal("source_ids", source_ids[0], "weights", weights[0], "batch size")
    validation.equal("source_ids", source_ids[1], "weights", weights[2], "memory length")
    for argument, shape, width in (
        ("probabilities", probabilities, "vocabulary"),
        ("context", context, "width"),
        ("state", state, "width"),
        ("inputs", inputs, "width"),
    ):
        validation.rank(argument, shape, f"(batch, steps, {width})")
        validation.equal(argument, shape[0], "weights", weights[0], "batch size")
        validation.equal(argument, shape[1], "weights", weights[1], "length")
