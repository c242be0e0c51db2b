"""Self-attention of a feature map: each position attends to all positions."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.kernel import (
    add_kernel,
    kernel_config,
    set_kernel_options,
)
from keras_attention._internal.output_spec import output_spec
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention._ops.dense import dense
from keras_attention._ops.dot_product_attention import dot_product_attention


@final
@keras.saving.register_keras_serializable("keras_attention")
class SelfAttention2D(keras.layers.Layer):
    """SAGAN's self-attention, which adds information from distant positions to a feature map.

        beta_ji = softmax_i(f(x_i) . g(x_j))
        o_j = v(sum_i beta_ji h(x_i))
        y_j = gamma o_j + x_j                                                    (section 3)

    i and j are positions of the map. f, g, h and v are 1x1 convolutions without biases; their
    variables are `f_kernel`, `g_kernel` and `h_kernel`, all (C, C'), and `v_kernel` (C', C). The
    scores are not scaled. The variable `gamma` () starts at 0, so the layer is the identity at
    first.

    Args:
        reduction: Factor by which f, g and h reduce the number of channels, the paper's k. C' is C
            / reduction, rounded down, but at least 1.
        kernel_initializer: Initializer of the kernels.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, H, W, C), with the channels last, whatever Keras's `image_data_format` is.
        return_attention_scores: Whether to return the weights too.

    Returns:
        The map (B, H, W, C); with `return_attention_scores` also beta as weights (B, H, W, H, W),
        of which `weights[:, i, j]` are those of the query at row i and column j.

    Masking: feature maps have no mask.

    Memory: linear in the number of positions, unless the weights are returned.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> attention = ka.SelfAttention2D()
    >>> x = np.random.normal(size=(2, 3, 5, 16)).astype("float32")
    >>> y, weights = attention(x, return_attention_scores=True)
    >>> bool(np.all(y == x)), tuple(weights.shape)
    (True, (2, 3, 5, 3, 5))

    Reference: Zhang, Goodfellow, Metaxas, Odena 2018, "Self-Attention Generative Adversarial
    Networks", arXiv:1805.08318, section 3.
    """

    def __init__(
        self,
        reduction: int = 8,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reduction = validation.positive_integer("reduction", reduction)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)

    def build(self, inputs_shape: Shape) -> None:
        validation.rank("inputs", inputs_shape, "(batch, height, width, channels)")
        validation.static_dim("inputs", inputs_shape)
        channels = inputs_shape[-1]
        reduced_dim = max(1, channels // self.reduction)

        self.f_kernel = add_kernel(self, "f_kernel", (channels, reduced_dim))
        self.g_kernel = add_kernel(self, "g_kernel", (channels, reduced_dim))
        self.h_kernel = add_kernel(self, "h_kernel", (channels, reduced_dim))
        self.v_kernel = add_kernel(self, "v_kernel", (reduced_dim, channels))
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")

    def call(self, inputs: Tensor, return_attention_scores: bool = False) -> Tensor:
        validation.rank("inputs", inputs.shape, "(batch, height, width, channels)")
        batch, height, width, channels = ops.shape(inputs)
        positions = ops.reshape(inputs, (batch, height * width, channels))  # (B, HW, C)
        keys, queries, values = (
            ops.expand_dims(dense(positions, kernel), 1)  # (B, 1, HW, C'), one head
            for kernel in (self.f_kernel, self.g_kernel, self.h_kernel)
        )
        context, weights = dot_product_attention(
            queries, keys, values, scale=1.0, return_weights=return_attention_scores
        )
        context = dense(context[:, 0], self.v_kernel)  # (B, HW, C)
        outputs = self.gamma * ops.reshape(context, (batch, height, width, channels)) + inputs
        if not return_attention_scores:
            return outputs
        return outputs, ops.reshape(weights, (batch, height, width, height, width))

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        validation.rank("inputs", inputs_shape, "(batch, height, width, channels)")
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shape = self.compute_output_shape(inputs.shape)
        return output_spec(self, shape, (*shape[:3], *shape[1:3]), inputs, *args, **kwargs)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "reduction": self.reduction,
            **kernel_config(self),
        }
