"""The cross-entropy of a linear head over a large vocabulary, whose logits are never held.

For N steps the logits (N, V) and their gradient are by far the largest tensors of a translator.
Here the steps come in blocks. The gradient of a block is known as soon as its logits are: so each
block is turned into what it gives to the loss and to the gradients, and forgotten.

    z_n = x_n W + b                          L = sum_n w_n (log sum_v exp(z_nv) - sum_v q_nv z_nv)
    dz_n = w_n (softmax(z_n) - q_n)          dx_n = dz_n W^T      dW += x_n^T dz_n      db += dz_n

with q_nv = (1 - e) [v = y_n] + e / V for the target y_n and a label smoothing of e. These are the
three products that the logits would take; computing the logits again backward would be a fourth.

Shapes: B batch, T steps, D width, V vocabulary.
"""

import contextlib
from typing import final

import keras
from keras import backend, ops

from keras_attention import checks
from keras_attention.blocks import block_at, blocks_of, padded, put_block
from keras_attention.custom_gradient import custom_gradient
from keras_attention.implicit_masks import mask_of
from keras_attention.turns import one_by_one

# The steps of a block, whose logits are 64 MB at most in float32. Each block adds to a gradient as
# large as the kernel: that would take long if there were few steps in each.
BLOCK_LOGITS, SHORTEST, LONGEST = 2**24, 64, 640


def linear_crossentropy(
    targets, features, kernel, bias=None, weights=None, label_smoothing=0.0, training=True
):
    """The summed cross-entropy of softmax(features @ kernel + bias), without holding the logits.

        sum_bt w_bt -log p_bt(y_bt),   p_bt = softmax(x_bt W + b)

    With label smoothing e, log p(y) becomes (1 - e) log p(y) + e mean_v log p(v).

    Args:
        targets: (B, T), or any shape (...): integers, y. One outside of the vocabulary makes the
            loss NaN, unless its weight is zero.
        features: (B, T, D), what the head reads.
        kernel: (D, V), a tensor or a variable.
        bias: (V,).
        weights: (B, T), w, constants. Defaults to ones: the sum of the losses. Divide a mask by its
            sum for their mean.
        label_smoothing: e, from 0 up to 1.
        training: Whether gradients will be asked for. They are computed with the loss, which takes
            three times as long.

    Returns:
        A scalar, in at least float32. Gradients go to features, kernel and bias. They have no
        gradients of their own: to ask for these is an error.

    Example:

    >>> features, kernel = np.zeros((2, 3, 5)), np.zeros((5, 8000))
    >>> loss = ka.losses.linear_crossentropy(np.ones((2, 3), "int32"), features, kernel)
    >>> round(float(loss) / 6, 3)  # log 8000
    8.987

    References: Hsu et al. 2024, "Liger Kernel: Efficient Triton Kernels for LLM Training",
    arXiv:2410.10989, section 3.2, FusedLinearCrossEntropy; Szegedy et al. 2016, "Rethinking the
    Inception Architecture for Computer Vision", arXiv:1512.00567, section 7, for the smoothing.
    """
    features, kernel = ops.convert_to_tensor(features), ops.convert_to_tensor(kernel)
    checks.rank("kernel", kernel.shape, "(width, vocabulary)")
    width, vocabulary = kernel.shape
    checks.mask("bias", bias, (vocabulary,), "(vocabulary,)")
    checks.equal("features", features.shape[-1], "kernel", width, "width")
    targets = ops.cast(targets, "int32")
    weights = ops.ones_like(targets) if weights is None else ops.convert_to_tensor(weights)
    for argument, x in (("targets", targets), ("weights", weights)):
        checks.mask(argument, x, features.shape[:-1], "as many as features")
    checks.fraction("label_smoothing", label_smoothing)
    dtype = backend.standardize_dtype(features.dtype)
    wide = backend.result_type(dtype, "float32")
    if dtype == "float16":  # where the gradients of most words are too small to be told from zero
        features = ops.cast(features, wide)
    weights = ops.stop_gradient(ops.cast(weights, wide))
    weights = ops.where(weights == 0, 0, weights * _known(targets, vocabulary, wide))
    targets, weights = (ops.reshape(x, (-1,)) for x in (targets, weights))
    # The products make tensors of variables, which no custom gradient takes.
    tensors = [ops.reshape(features, (-1, width)), ops.cast(kernel, features.dtype) * 1.0]
    if bias is not None:
        tensors.append(ops.cast(bias, wide) * 1.0)
    longest = min(max(BLOCK_LOGITS // vocabulary, SHORTEST), LONGEST)
    blocks = blocks_of(ops.shape(targets)[0], longest)

    def of_block(targets, weights, features, kernel, bias=0.0):
        logits = ops.cast(ops.matmul(features, kernel), wide) + bias  # (N / n, V)
        # Its gradient would be zero.
        largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
        exponentials = ops.exp(logits - largest)
        totals = ops.sum(exponentials, axis=-1, keepdims=True)
        losses = _losses(logits, largest + ops.log(totals), targets, label_smoothing)
        loss = ops.sum(ops.where(weights == 0, 0, weights * losses))
        return loss, exponentials / totals

    def loss_of(targets, weights, features, *kernel_and_bias):
        in_blocks = [_in_blocks(x, blocks) for x in (targets, weights, features)]

        def step(i, state):
            block = (block_at(x, i) for x in in_blocks)
            return (state[0] + of_block(*block, *kernel_and_bias)[0],)

        return one_by_one(0, blocks.number, step, (ops.zeros((), dtype=wide),))[0]

    @custom_gradient
    def loss_with_gradients(targets, weights, features, *kernel_and_bias):
        in_blocks = [_in_blocks(x, blocks) for x in (targets, weights, features)]

        def step(i, state):
            loss, of_features, of_kernel, *of_bias = state
            y, w, x = (block_at(each, i) for each in in_blocks)
            of_loss, probabilities = of_block(y, w, x, *kernel_and_bias)
            wanted = ops.one_hot(ops.cast(y, "int32"), vocabulary, dtype=wide)
            if label_smoothing:
                wanted = (1 - label_smoothing) * wanted + label_smoothing / vocabulary
            slope = ops.cast(ops.expand_dims(w, 1) * (probabilities - wanted), x.dtype)
            of_x = ops.cast(ops.matmul(slope, ops.transpose(kernel_and_bias[0])), wide)
            of_kernel = of_kernel + ops.cast(ops.matmul(ops.transpose(x), slope), wide)
            of_bias = [each + ops.sum(ops.cast(slope, wide), axis=0) for each in of_bias]
            return loss + of_loss, put_block(of_features, i, of_x), of_kernel, *of_bias

        zeros = (ops.zeros_like(x, dtype=wide) for x in (in_blocks[2], *kernel_and_bias))
        state = (ops.zeros((), dtype=wide), *zeros)
        loss, of_features, *gradients = one_by_one(0, blocks.number, step, state)
        gradients = ops.reshape(of_features, (-1, width))[: blocks.length], *gradients

        def gradients_of(upstream):
            given = features, *kernel_and_bias
            results = (
                ops.cast(upstream * _once_differentiable(x, *given), y.dtype)
                for x, y in zip(gradients, given, strict=True)
            )
            return ops.zeros_like(targets), ops.zeros_like(weights), *results

        return loss, gradients_of

    # Targets and weights are arguments, as JAX may trace in scopes of its own; floats, as integers
    # have no gradient.
    compute = loss_with_gradients if training else loss_of
    return compute(ops.cast(targets, wide), weights, *tensors)


@custom_gradient
def _once_differentiable(gradient, *of):
    """`gradient` as it is, for which a gradient of its own would be zero without an error."""

    def second(upstream):
        raise NotImplementedError(
            "linear_crossentropy has no second gradients; take them of a loss of the logits."
        )

    return ops.copy(gradient), second


def _in_blocks(x, blocks):
    """(N, ...) to (n, N / n, ...)."""
    return ops.reshape(padded(x, 0, blocks), (blocks.number, blocks.size, *x.shape[1:]))


def _losses(logits, totals, targets, label_smoothing):
    """The losses (...) of logits (..., V) whose exponentials have the logarithms `totals`."""
    places = ops.expand_dims(ops.clip(ops.cast(targets, "int32"), 0, logits.shape[-1] - 1), -1)
    of_target = ops.squeeze(ops.take_along_axis(logits, places, axis=-1), -1)
    wanted = (1 - label_smoothing) * of_target
    if label_smoothing:
        wanted = wanted + label_smoothing * ops.mean(logits, axis=-1)
    return ops.squeeze(totals, -1) - wanted


def _known(targets, vocabulary, dtype):
    """1 for targets of the vocabulary, and for others a factor that spoils loss and gradients."""
    known = ops.logical_and(targets >= 0, targets < vocabulary)
    return ops.cast(ops.where(known, 1.0, float("nan")), dtype)


@final
@keras.saving.register_keras_serializable("keras_attention")
class LinearCrossentropy(keras.losses.Loss):
    """`linear_crossentropy` for `compile`: of a model whose last layer is a large `Dense`.

    The same numbers as `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`. Given to
    `compile` of `ka.models.EncoderDecoder` or `ka.models.Transformer` by itself, it takes the place
    of their head, if that is a `keras.layers.Dense` without an activation: neither logits (B, T, V)
    nor their gradient are held. The logits are computed beside it where something else asks for
    them, such as a metric, and where a model runs eagerly, as on PyTorch. With other models and
    heads, with scheduled sampling, and without a reduction it takes the logits.

    Args:
        label_smoothing: e in (1 - e) -log p(y) + e mean_v(-log p(v)), from 0 up to 1.
        reduction, name, dtype: As in any Keras loss.

    Call arguments:
        y_true: (B, T), tokens.
        y_pred: (B, T, V), logits.
        sample_weight: (B, T), (B, 1) or a number.

    Masking: Steps that the mask of the logits leaves out do not count, as in any Keras loss.

    Example:

    >>> logits = np.random.default_rng(0).normal(size=(2, 3, 7))
    >>> tokens = np.array([[1, 2, 3], [4, 5, 6]])
    >>> keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> difference = ka.losses.LinearCrossentropy()(tokens, logits) - keras_loss(tokens, logits)
    >>> abs(float(difference)) < 1e-6
    True
    """

    def __init__(
        self,
        label_smoothing=0.0,
        reduction="sum_over_batch_size",
        name="linear_crossentropy",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = checks.fraction("label_smoothing", label_smoothing)
        self._read = None

    @contextlib.contextmanager
    def reading(self, head, features, training):
        """A scope in which `y_pred` counts as what `head` makes of `features`."""
        self._read = (head, features, training)
        try:
            yield
        finally:
            self._read = None

    def __call__(self, y_true, y_pred, sample_weight=None):
        if self._read is None or self.reduction in (None, "none"):
            return self._of_logits(y_true, ops.convert_to_tensor(y_pred), sample_weight)
        head, features, training = self._read
        loss = linear_crossentropy(
            _tokens(y_true, features),
            ops.cast(features, head.compute_dtype),
            head.kernel,
            head.bias,
            self._weights(features, sample_weight),
            self.label_smoothing,
            training,
        )
        # As a loss of one, so that Keras shares it out among replicas.
        total = ops.reshape(loss, (1,))
        return _Summed(reduction=self.reduction, dtype=self.dtype)(total, total)

    def _of_logits(self, y_true, y_pred, sample_weight):
        tokens = _tokens(y_true, y_pred)
        for weights in (mask_of(y_pred), sample_weight):
            if weights is not None:  # What does not count may be any number.
                counted = ops.cast(_without_last(ops.convert_to_tensor(weights), y_pred), "bool")
                tokens = ops.where(counted, tokens, 0)
        return super().__call__(tokens, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        tokens = _tokens(y_true, y_pred)
        totals = ops.logsumexp(y_pred, axis=-1, keepdims=True)
        losses = _losses(y_pred, totals, tokens, self.label_smoothing)
        return losses * _known(tokens, y_pred.shape[-1], y_pred.dtype)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}

    def _weights(self, features, sample_weight):
        """What each step counts for, (B, T), so that a sum is what the reduction asks for."""
        shape, mask = ops.shape(features)[:-1], mask_of(features)
        counted = ops.ones(shape) if mask is None else mask
        weights = counted = ops.cast(counted, self.dtype)
        if sample_weight is not None:
            weights = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
            weights = _without_last(weights, features)
            _check_sample_weight(tuple(weights.shape), features.shape[:-1])
            weights = weights if mask is None else weights * counted
        if self.reduction != "sum":
            divisor = weights if self.reduction == "mean_with_sample_weight" else counted
            weights = ops.divide_no_nan(weights, ops.sum(divisor))
        return ops.broadcast_to(weights, shape)


@final
class _Summed(keras.losses.Loss):
    """What was summed already."""

    def call(self, y_true, y_pred):
        return y_pred


def _tokens(y_true, y_pred):
    return _without_last(ops.cast(y_true, "int32"), y_pred)


def _without_last(x, y_pred):
    """(B, T) of such, or of (B, T, 1)."""
    return ops.squeeze(x, -1) if len(x.shape) == len(y_pred.shape) and x.shape[-1] == 1 else x


def _check_sample_weight(came, shape):
    sizes = zip(came, shape, strict=False)
    if len(came) not in (0, len(shape)) or any(
        size not in (None, 1, wanted) and wanted is not None for size, wanted in sizes
    ):
        raise ValueError(
            f"`sample_weight` has shape {came}; accepted is {tuple(shape)}, (batch, steps), "
            "(batch, 1) or a number."
        )
