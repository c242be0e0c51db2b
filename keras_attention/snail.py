"""SNAIL: convolutions that gather the past of a sequence, attention that looks something up."""

from typing import final

import keras
from keras import ops

from keras_attention import checks, flash_attention, masks
from keras_attention.identifiers import fresh
from keras_attention.linear import project_rows
from keras_attention.self_attention import attend


def dilation_rates(sequence_length):
    """1, 2, 4, ...: as many as it takes for the last of `sequence_length` steps to see the first.

    Stacked convolutions of size 2 see as far back as the sums of some of their dilations: with
    the first n powers of two, exactly the 2^n steps t, t - 1, ..., t - 2^n + 1.
    """
    return [2**i for i in range((sequence_length - 1).bit_length())]


@final
@keras.saving.register_keras_serializable("keras_attention")
class CausalConvBlock(keras.layers.Layer):
    """SNAIL's dense block: a gated causal convolution, put beside its inputs.

        x_f, x_g = W_f * x + b_f, W_g * x + b_g
        outputs = [x; tanh(x_f) sigmoid(x_g)]                       (section 3, "DenseBlock")

    The convolutions have size 2: step t sees the steps t - `dilation_rate` and t alone, and zeros
    before the first step. They run as one, `convolution`, whose `kernel` (2, D, 2 filters) has the
    columns of W_f first.

    Args:
        filters: How many channels are put beside the inputs, the paper's D.
        dilation_rate: How far back the other step lies, the paper's R. It must be below the length
            of the sequence, where that is known.
        kernel_initializer: Initializer of the kernel.

    Call arguments:
        inputs: (B, T, D).
        mask: (B, T), the steps that count.

    Returns:
        The outputs (B, T, D + filters).

    Masking: True means "counts". A step that does not is seen as zeros, as are those before the
    first, and its outputs are zeros. The mask is passed on.

    Example:

    >>> block = ka.CausalConvBlock(5, dilation_rate=2)
    >>> tuple(block(np.ones((2, 3, 7))).shape)
    (2, 3, 12)

    Reference: Mishra, Rohaninejad, Chen, Abbeel 2018, "A Simple Neural Attentive Meta-Learner",
    arXiv:1707.03141, section 3.
    """

    def __init__(self, filters, dilation_rate=1, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.filters = checks.positive_integer("filters", filters)
        self.dilation_rate = checks.positive_integer("dilation_rate", dilation_rate)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.convolution = keras.layers.Conv1D(
            2 * self.filters,
            2,
            padding="causal",
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
            kernel_initializer=fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="convolution",
        )
        self.supports_masking = True

    def build(self, inputs_shape):
        self._check_shape(inputs_shape)
        if not self.convolution.built:
            self.convolution.build(inputs_shape)

    def call(self, inputs, mask=None):
        self._check_shape(inputs.shape)
        checks.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        return _beside(self.convolution, inputs, mask)

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, inputs_shape):
        self._check_shape(inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "dilation_rate": self.dilation_rate,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _check_shape(self, inputs_shape):
        _check_sequence(inputs_shape)
        length = inputs_shape[1]
        if length is not None and self.dilation_rate >= length:
            raise ValueError(
                f"`dilation_rate` is {self.dilation_rate}, but `inputs` has length {length}; "
                "accepted is a rate below the length, with which a step sees another one."
            )


@final
@keras.saving.register_keras_serializable("keras_attention")
class TemporalConvBlock(keras.layers.Layer):
    """SNAIL's TC block: dense blocks of growing dilation, until each step sees its whole past.

        for i in 1, ..., ceil(log2 T):  x = DenseBlock(x, 2^(i-1), filters)
                                                                       (section 3, "TCBlock")

    The receptive field is to cover the sequence, but the paper's listing has dilations 2^i, from 2
    on: no step would see one at an odd distance, and the last dilation, T or more, would reach
    nothing. Here they begin with 1, and as many blocks see 2^ceil(log2 T) >= T steps, without gaps.

    Args:
        filters: How many channels each dense block adds, the paper's D.
        sequence_length: Length T of the longest sequence. Of a single step nothing is to be seen:
            with 1 there are no blocks.
        kernel_initializer: Initializer of the kernels.

    Call arguments:
        inputs: (B, T, D), of `sequence_length` steps or fewer.
        mask: (B, T), the steps that count.

    Returns:
        The outputs (B, T, D + ceil(log2 T) filters).

    Masking: True means "counts". A step that does not is seen as zeros, as are those before the
    first, and its outputs are zeros. The mask is passed on.

    Example:

    >>> block = ka.TemporalConvBlock(5, sequence_length=11)
    >>> [inner.dilation_rate for inner in block.blocks]
    [1, 2, 4, 8]
    >>> tuple(block(np.ones((2, 11, 7))).shape)
    (2, 11, 27)

    Reference: Mishra, Rohaninejad, Chen, Abbeel 2018, "A Simple Neural Attentive Meta-Learner",
    arXiv:1707.03141, section 3.
    """

    def __init__(self, filters, sequence_length, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.filters = checks.positive_integer("filters", filters)
        self.sequence_length = checks.positive_integer("sequence_length", sequence_length)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.blocks = [
            CausalConvBlock(
                self.filters, rate, fresh(self.kernel_initializer), dtype=self.dtype_policy
            )
            for rate in dilation_rates(self.sequence_length)
        ]
        self.supports_masking = True

    def build(self, inputs_shape):
        self._check_length(inputs_shape)
        # Shorter sequences may come, which the last dilations reach across.
        shape = (inputs_shape[0], None, inputs_shape[2])
        for block in self.blocks:
            if not block.built:
                block.build(shape)
            shape = block.compute_output_shape(shape)

    def call(self, inputs, mask=None):
        self._check_length(inputs.shape)
        checks.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        outputs = _kept(inputs, mask)
        for block in self.blocks:
            outputs = _beside(block.convolution, outputs, mask)
        return outputs

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, inputs_shape):
        self._check_length(inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + len(self.blocks) * self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "sequence_length": self.sequence_length,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _check_length(self, inputs_shape):
        _check_sequence(inputs_shape)
        length = inputs_shape[1]
        if length is not None and length > self.sequence_length:
            raise ValueError(
                f"`inputs` has length {length}; accepted is at most `sequence_length`, "
                f"{self.sequence_length}, for which the block was made."
            )


@final
@keras.saving.register_keras_serializable("keras_attention")
class SnailAttentionBlock(keras.layers.Layer):
    """SNAIL's attention block: what a look at the past reads, put beside the inputs.

        read = softmax(Q K^T / sqrt(key_dim)) V            over the steps up to each
        outputs = [x; read]                                         (section 3, "AttentionBlock")

    Q = x W_q + b_q, K = x W_k and V = x W_v + b_v have the weights `query_kernel`, `query_bias`,
    `key_kernel`, `value_kernel` and `value_bias`. A bias of the keys, which the paper's "affine"
    has too, would add the same to all scores of a query, which a softmax does not see.

    Args:
        key_dim: Width of queries and keys, the paper's K.
        value_dim: Width of the values and of what is read, the paper's V.
        kernel_initializer: Initializer of the kernels.

    Call arguments:
        inputs: (B, T, D).
        mask: (B, T), the steps that count.
        return_attention_scores: Whether to return the weights too. The outputs stay the same.

    Returns:
        The outputs (B, T, D + value_dim); with `return_attention_scores` also the weights
        (B, T, T), zero above the diagonal.

    Masking: True means "counts". No step looks at one that does not, whose outputs and weights
    are zeros. The mask is passed on.

    Memory: linear in T where no weights are asked for; see `keras_attention/flash_attention.py`.
    With them it holds the weights, (B, T, T).

    Example:

    >>> block = ka.SnailAttentionBlock(key_dim=5, value_dim=3)
    >>> outputs, weights = block(np.ones((2, 4, 7)), return_attention_scores=True)
    >>> tuple(outputs.shape), tuple(weights.shape)
    ((2, 4, 10), (2, 4, 4))

    Reference: Mishra, Rohaninejad, Chen, Abbeel 2018, "A Simple Neural Attentive Meta-Learner",
    arXiv:1707.03141, section 3.
    """

    def __init__(self, key_dim, value_dim, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.key_dim = checks.positive_integer("key_dim", key_dim)
        self.value_dim = checks.positive_integer("value_dim", value_dim)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(self, inputs_shape):
        _check_sequence(inputs_shape)

        def add(name, *shape):
            initializer = fresh(self.kernel_initializer) if len(shape) > 1 else "zeros"
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        width = inputs_shape[2]
        self.query_kernel = add("query_kernel", width, self.key_dim)
        self.query_bias = add("query_bias", self.key_dim)
        self.key_kernel = add("key_kernel", width, self.key_dim)
        self.value_kernel = add("value_kernel", width, self.value_dim)
        self.value_bias = add("value_bias", self.value_dim)

    def call(self, inputs, mask=None, return_attention_scores=False):
        _check_sequence(inputs.shape)
        checks.mask("mask", mask, inputs.shape[:2], "(batch, steps)")
        inputs, length = _kept(inputs, mask), ops.shape(inputs)[1]
        query = self._affine(inputs, self.query_kernel, self.query_bias)  # (B, 1, T, key_dim)
        key = self._affine(inputs, self.key_kernel)
        value = self._affine(inputs, self.value_kernel, self.value_bias)  # (B, 1, T, value_dim)
        if not return_attention_scores:
            query = query / self.key_dim**0.5
            read = flash_attention.attend(query, key, value, mask, mask, causal=True)
            return ops.concatenate([inputs, read[:, 0]], axis=-1)
        allowed = masks.combine(mask, mask, causal_mask=masks.causal_mask(length, length))
        read, weights = attend(query, key, value, allowed)
        return ops.concatenate([inputs, read[:, 0]], axis=-1), weights[:, 0]

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask

    def compute_output_shape(self, inputs_shape):
        _check_sequence(inputs_shape)
        return (*inputs_shape[:2], inputs_shape[2] + self.value_dim)

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False):
        shape = self.compute_output_shape(inputs.shape)
        outputs = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return outputs
        return outputs, keras.KerasTensor((*shape[:2], shape[1]), dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _affine(self, sequence, kernel, bias=None):
        rows = project_rows(sequence, ops.cast(kernel, self.compute_dtype))
        rows = rows if bias is None else rows + ops.cast(bias, self.compute_dtype)
        return ops.expand_dims(rows, 1)  # one head


def _beside(convolution, inputs, mask):
    """[x; tanh(x_f) sigmoid(x_g)], of any length: a dilation beyond it sees zeros."""
    inputs = _kept(inputs, mask)
    x_f, x_g = ops.split(convolution(inputs), 2, axis=-1)  # (B, T, filters)
    return ops.concatenate([inputs, _kept(ops.tanh(x_f) * ops.sigmoid(x_g), mask)], axis=-1)


def _kept(sequence, mask):
    """Returns `sequence` (B, T, D) with zeros where `mask` (B, T) is False."""
    if mask is None:
        return sequence
    return ops.where(ops.expand_dims(ops.cast(mask, "bool"), 2), sequence, 0)


def _check_sequence(shape):
    checks.rank("inputs", shape, "(batch, steps, width)")
    if shape[2] is None:
        raise ValueError(
            f"`inputs` has shape {tuple(shape)}; accepted is a shape whose last axis is known."
        )
