"""Self-attention of a map of features: every place looks at every other."""

from typing import final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.serialization import add_kernel
from keras_attention._ops.dense import dense
from keras_attention._ops.dot_product_attention import dot_product_attention


@final
@keras.saving.register_keras_serializable("keras_attention")
class SelfAttention2D(keras.layers.Layer):
    """SAGAN's self-attention: what a convolution cannot reach, added to a map.

        beta_ji = softmax_i(f(x_i) . g(x_j))
        o_j = v(sum_i beta_ji h(x_i))
        y_j = gamma o_j + x_j                                                    (section 3)

    i and j run over the places of the map; f, g, h and v are 1x1 convolutions without biases, with
    the weights `f_kernel`, `g_kernel`, `h_kernel` (C, C') and `v_kernel` (C', C). The logits are
    not scaled. gamma, one learned number, starts at 0: the layer is the identity at first.

    Args:
        reduction: How much narrower than the map f, g and h are, the paper's k: C' is C / reduction
            rounded down, and at least 1.
        kernel_initializer: Initializer of the kernels.

    Call arguments:
        inputs: (B, H, W, C), channels last whatever Keras's `image_data_format`.
        return_attention_scores: Whether to return the weights too.

    Returns:
        The map (B, H, W, C); with `return_attention_scores` also beta as (B, H, W, H, W): where the
        place (i, j) looks is the map `weights[:, i, j]`.

    Masking: a map has no mask.

    Memory: linear in the number of places where no weights are asked for.

    Example:

    >>> attention = ka.SelfAttention2D()
    >>> x = np.random.normal(size=(2, 3, 5, 16)).astype("float32")
    >>> y, weights = attention(x, return_attention_scores=True)
    >>> bool(np.all(y == x)), tuple(weights.shape)
    (True, (2, 3, 5, 3, 5))

    Reference: Zhang, Goodfellow, Metaxas, Odena 2018, "Self-Attention Generative Adversarial
    Networks", arXiv:1805.08318, section 3.
    """

    def __init__(self, reduction=8, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.reduction = validation.positive_integer("reduction", reduction)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, inputs_shape):
        validation.rank("inputs", inputs_shape, "(batch, height, width, channels)")
        validation.static_dim("inputs", inputs_shape)
        channels = inputs_shape[-1]
        narrow = max(1, channels // self.reduction)

        self.f_kernel = add_kernel(self, "f_kernel", (channels, narrow))
        self.g_kernel = add_kernel(self, "g_kernel", (channels, narrow))
        self.h_kernel = add_kernel(self, "h_kernel", (channels, narrow))
        self.v_kernel = add_kernel(self, "v_kernel", (narrow, channels))
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")

    def call(self, inputs, return_attention_scores=False):
        validation.rank("inputs", inputs.shape, "(batch, height, width, channels)")
        batch, height, width, channels = ops.shape(inputs)
        f_kernel, g_kernel, h_kernel, v_kernel, gamma = (
            ops.cast(weight, self.compute_dtype)
            for weight in (self.f_kernel, self.g_kernel, self.h_kernel, self.v_kernel, self.gamma)
        )
        places = ops.reshape(inputs, (batch, height * width, channels))  # (B, HW, C)
        keys = dense(places, f_kernel)  # (B, HW, C')
        queries = dense(places, g_kernel)  # (B, HW, C')
        values = dense(places, h_kernel)  # (B, HW, C')
        queries, keys, values = (ops.expand_dims(x, 1) for x in (queries, keys, values))
        context, weights = dot_product_attention(
            queries, keys, values, scale=1.0, return_weights=return_attention_scores
        )
        context = dense(context[:, 0], v_kernel)  # (B, HW, C)
        outputs = gamma * ops.reshape(context, (batch, height, width, channels)) + inputs
        if not return_attention_scores:
            return outputs
        return outputs, ops.reshape(weights, (batch, height, width, height, width))

    def compute_output_shape(self, inputs_shape):
        validation.rank("inputs", inputs_shape, "(batch, height, width, channels)")
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, return_attention_scores=False):
        shape = self.compute_output_shape(inputs.shape)
        return output_spec(self, shape, (*shape[:3], *shape[1:3]), return_attention_scores)

    def get_config(self):
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
