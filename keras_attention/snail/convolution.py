"""SNAIL's causal convolutions over two steps, and stacks of them that reach the whole past."""

from typing import Any, final

import keras
from keras import ops

from keras_attention._internal import validation
from keras_attention._internal.kernel import kernel_config, kernel_options, set_kernel_options
from keras_attention._internal.serialization import build_once
from keras_attention._internal.sublayers import SavedSublayers
from keras_attention._internal.typing import Config, Initializer, Shape, Tensor
from keras_attention.masks import zero_masked


def dilation_rates(sequence_length: int) -> list[int]:
    """Returns 1, 2, 4, ..., as many as let the last of `sequence_length` steps depend on the first.

    A stack of convolutions of size 2 reaches back by every sum of a subset of its dilations. With
    the first n powers of two, it reaches the 2^n steps t, t - 1, ..., t - 2^n + 1.
    """
    return [2**i for i in range((sequence_length - 1).bit_length())]


@final
@keras.saving.register_keras_serializable("keras_attention")
class CausalConvBlock(SavedSublayers):
    """SNAIL's dense block: a gated causal convolution, concatenated to its inputs.

        x_f, x_g = W_f * x + b_f, W_g * x + b_g
        outputs = [x; tanh(x_f) sigmoid(x_g)]                       (section 3, "DenseBlock")

    The convolutions have size 2: step t depends only on the steps t - `dilation_rate` and t, with
    zeros before the first step. Both are computed by one layer, `convolution`. In its `kernel`
    (2, D, 2 filters), the columns of W_f precede those of W_g.

    Args:
        filters: Number of channels that are added to the inputs, the paper's D.
        dilation_rate: Distance between the two steps, the paper's R. If it is above 1 and the
            length of the sequence is known, it must be below that length.
        kernel_initializer: Initializer of the kernel.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, T, D).
        mask: (B, T).

    Returns:
        The outputs (B, T, D + filters).

    Masking: the inputs and outputs of a masked step are zero, like those before the first step. The
    mask is passed on.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> block = ka.CausalConvBlock(5, dilation_rate=2)
    >>> tuple(block(np.ones((2, 3, 7))).shape)
    (2, 3, 12)

    Reference: Mishra, Rohaninejad, Chen, Abbeel 2018, "A Simple Neural Attentive Meta-Learner",
    arXiv:1707.03141, section 3.
    """

    def __init__(
        self,
        filters: int,
        dilation_rate: int = 1,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = validation.positive_integer("filters", filters)
        self.dilation_rate = validation.positive_integer("dilation_rate", dilation_rate)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.convolution = keras.layers.Conv1D(
            2 * self.filters,
            2,
            padding="causal",
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
            dtype=self.dtype_policy,
            name="convolution",
            **kernel_options(self),
        )
        self.supports_masking = True

    def build(self, inputs_shape: Shape) -> None:
        self._validate_shape(inputs_shape)
        build_once(self.convolution, inputs_shape)

    def call(self, inputs: Tensor, mask: Tensor = None) -> Tensor:
        self._validate_shape(inputs.shape)
        mask = validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        return _gated_concat(self.convolution, inputs, mask)

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        self._validate_shape(inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + self.filters)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "dilation_rate": self.dilation_rate,
            **kernel_config(self),
        }

    def _validate_shape(self, inputs_shape: Shape) -> None:
        validation.sequence("inputs", inputs_shape)
        length = inputs_shape[1]
        if length is not None and self.dilation_rate >= max(length, 2):
            raise ValueError(
                f"`dilation_rate` is {self.dilation_rate}, but `inputs` has length {length}; "
                "expected 1 or a rate below the length."
            )


@final
@keras.saving.register_keras_serializable("keras_attention")
class TemporalConvBlock(SavedSublayers):
    """SNAIL's TC block: dense blocks of growing dilation that reach the whole past of each step.

        for i in 1, ..., ceil(log2 T):  x = DenseBlock(x, 2^(i-1), filters)
                                                                       (section 3, "TCBlock")

    In the paper's listing, the dilations are 2^i and start at 2. Then no step would depend on one
    at an odd distance, and the last dilation, which is T or more, would reach nothing. Here the
    dilations start at 1. With as many blocks, the receptive field is 2^ceil(log2 T) >= T steps,
    without gaps.

    Args:
        filters: Number of channels that each dense block adds, the paper's D.
        sequence_length: Length T of the longest sequence. With 1, the block is the identity.
        kernel_initializer: Initializer of the kernels.
        kernel_regularizer, kernel_constraint: Applied to the variables that `kernel_initializer`
            initializes.

    Call arguments:
        inputs: (B, T, D), of `sequence_length` steps or fewer.
        mask: (B, T).

    Returns:
        The outputs (B, T, D + ceil(log2 T) filters).

    Masking: the inputs and outputs of a masked step are zero, like those before the first step. The
    mask is passed on.

    Raises:
        ValueError: If an argument is out of its range, or an input has an unexpected shape.

    Example:

    >>> block = ka.TemporalConvBlock(5, sequence_length=11)
    >>> [inner.dilation_rate for inner in block.blocks]
    [1, 2, 4, 8]
    >>> tuple(block(np.ones((2, 11, 7))).shape)
    (2, 11, 27)

    Reference: Mishra, Rohaninejad, Chen, Abbeel 2018, "A Simple Neural Attentive Meta-Learner",
    arXiv:1707.03141, section 3.
    """

    def __init__(
        self,
        filters: int,
        sequence_length: int,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = validation.positive_integer("filters", filters)
        self.sequence_length = validation.positive_integer("sequence_length", sequence_length)
        set_kernel_options(self, kernel_initializer, kernel_regularizer, kernel_constraint)
        self.blocks = [
            CausalConvBlock(self.filters, rate, dtype=self.dtype_policy, **kernel_options(self))
            for rate in dilation_rates(self.sequence_length)
        ]
        self.supports_masking = True

    def build(self, inputs_shape: Shape) -> None:
        self._validate_length(inputs_shape)
        # The length is unknown, as the last dilations may exceed that of shorter sequences.
        shape: Shape = (inputs_shape[0], None, inputs_shape[2])
        for block in self.blocks:
            build_once(block, shape)
            shape = block.compute_output_shape(shape)

    def call(self, inputs: Tensor, mask: Tensor = None) -> Tensor:
        self._validate_length(inputs.shape)
        mask = validation.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        outputs = zero_masked(inputs, mask)
        for block in self.blocks:
            outputs = _gated_concat(block.convolution, outputs, mask)
        return outputs

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        self._validate_length(inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + len(self.blocks) * self.filters)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "sequence_length": self.sequence_length,
            **kernel_config(self),
        }

    def _validate_length(self, inputs_shape: Shape) -> None:
        validation.sequence("inputs", inputs_shape)
        length = inputs_shape[1]
        if length is not None and length > self.sequence_length:
            raise ValueError(
                f"`inputs` has length {length}; expected at most `sequence_length`, "
                f"{self.sequence_length}, for which the block was made."
            )


def _gated_concat(convolution: keras.layers.Layer, inputs: Tensor, mask: Tensor) -> Tensor:
    """Returns [x; tanh(x_f) sigmoid(x_g)]. Dilations may exceed the length of the inputs."""
    inputs = zero_masked(inputs, mask)
    x_f, x_g = ops.split(convolution(inputs), 2, axis=-1)  # (B, T, filters)
    return ops.concatenate([inputs, zero_masked(ops.tanh(x_f) * ops.sigmoid(x_g), mask)], axis=-1)
