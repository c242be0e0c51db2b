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

from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention._ops.tiling import get_tile, pad_to_tiles, set_tile, tiles_of
from keras_attention._ops.while_loop import sequential_fori_loop

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
    validation.rank("kernel", kernel.shape, "(width, vocabulary)")
    width, vocabulary = kernel.shape
    validation.mask("bias", bias, (vocabulary,), "(vocabulary,)")
    validation.equal("features", features.shape[-1], "kernel", width, "width")
    targets = ops.cast(targets, "int32")
    weights = ops.ones_like(targets) if weights is None else ops.convert_to_tensor(weights)
    for argument, x in (("targets", targets), ("weights", weights)):
        validation.mask(argument, x, features.shape[:-1], "as many as features")
    validation.dropout_rate("label_smoothing", label_smoothing)
    dtype = backend.standardize_dtype(features.dtype)
    wide = backend.result_type(dtype, "float32")
    if dtype == "float16":  # where the gradients of most words are too small to be told from zero
        features = ops.cast(features, wide)
    weights = ops.stop_gradient(ops.cast(weights, wide))
    weights = ops.where(weights == 0, 0, weights * known_or_nan(targets, vocabulary, wide))
    targets, weights = (ops.reshape(x, (-1,)) for x in (targets, weights))
    # The products make tensors of variables, which no custom gradient takes.
    tensors = [ops.reshape(features, (-1, width)), ops.cast(kernel, features.dtype) * 1.0]
    if bias is not None:
        tensors.append(ops.cast(bias, wide) * 1.0)
    longest = min(max(BLOCK_LOGITS // vocabulary, SHORTEST), LONGEST)
    blocks = tiles_of(ops.shape(targets)[0], longest)

    def of_block(targets, weights, features, kernel, bias=0.0):
        logits = ops.cast(ops.matmul(features, kernel), wide) + bias  # (N / n, V)
        # Its gradient would be zero.
        largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
        exponentials = ops.exp(logits - largest)
        totals = ops.sum(exponentials, axis=-1, keepdims=True)
        losses = losses_of(logits, largest + ops.log(totals), targets, label_smoothing)
        loss = ops.sum(ops.where(weights == 0, 0, weights * losses))
        return loss, exponentials / totals

    def loss_of(targets, weights, features, *kernel_and_bias):
        in_blocks = [_in_blocks(x, blocks) for x in (targets, weights, features)]

        def step(i, state):
            block = (get_tile(x, i) for x in in_blocks)
            return (state[0] + of_block(*block, *kernel_and_bias)[0],)

        return sequential_fori_loop(0, blocks.count, step, (ops.zeros((), dtype=wide),))[0]

    @custom_gradient
    def loss_with_gradients(targets, weights, features, *kernel_and_bias):
        in_blocks = [_in_blocks(x, blocks) for x in (targets, weights, features)]

        def step(i, state):
            loss, of_features, of_kernel, *of_bias = state
            y, w, x = (get_tile(each, i) for each in in_blocks)
            of_loss, probabilities = of_block(y, w, x, *kernel_and_bias)
            wanted = ops.one_hot(ops.cast(y, "int32"), vocabulary, dtype=wide)
            if label_smoothing:
                wanted = (1 - label_smoothing) * wanted + label_smoothing / vocabulary
            slope = ops.cast(ops.expand_dims(w, 1) * (probabilities - wanted), x.dtype)
            of_x = ops.cast(ops.matmul(slope, ops.transpose(kernel_and_bias[0])), wide)
            of_kernel = of_kernel + ops.cast(ops.matmul(ops.transpose(x), slope), wide)
            of_bias = [each + ops.sum(ops.cast(slope, wide), axis=0) for each in of_bias]
            return loss + of_loss, set_tile(of_features, i, of_x), of_kernel, *of_bias

        zeros = (ops.zeros_like(x, dtype=wide) for x in (in_blocks[2], *kernel_and_bias))
        state = (ops.zeros((), dtype=wide), *zeros)
        loss, of_features, *gradients = sequential_fori_loop(0, blocks.count, step, state)
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
    return ops.reshape(pad_to_tiles(x, 0, blocks), (blocks.count, blocks.size, *x.shape[1:]))


def losses_of(logits, totals, targets, label_smoothing):
    """The losses (...) of logits (..., V) whose exponentials have the logarithms `totals`."""
    places = ops.expand_dims(ops.clip(ops.cast(targets, "int32"), 0, logits.shape[-1] - 1), -1)
    of_target = ops.squeeze(ops.take_along_axis(logits, places, axis=-1), -1)
    wanted = (1 - label_smoothing) * of_target
    if label_smoothing:
        wanted = wanted + label_smoothing * ops.mean(logits, axis=-1)
    return ops.squeeze(totals, -1) - wanted


def known_or_nan(targets, vocabulary, dtype):
    """1 for targets of the vocabulary, and for others a factor that spoils loss and gradients."""
    known = ops.logical_and(targets >= 0, targets < vocabulary)
    return ops.cast(ops.where(known, 1.0, float("nan")), dtype)
