"""The cross-entropy of a linear head over a large vocabulary, without storing its logits.

For N steps, the logits (N, V) and their gradient are by far the largest tensors of a translator.
Here the steps are processed in tiles. As soon as the logits of a tile are known, so is their
gradient. The tile's contributions to the loss and to the other gradients are then added up, and its
logits are dropped.

    z_n = x_n W + b                    L = sum_n w_n (log sum_v exp(z_nv) - sum_v q_nv z_nv)
    dz_n = w_n (softmax(z_n) - q_n)    dx_n = dz_n W^T     dW += x_n^T dz_n     db += dz_n

Here q_nv = (1 - e) [v = y_n] + e / V for the target y_n and the label smoothing e. These are the
same three products as with stored logits. Recomputing the logits in the backward pass would take a
fourth.

Shapes: B batch, T steps, D features, V vocabulary, N = B T steps in total.
"""

from collections.abc import Callable
from typing import Any

from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor
from keras_attention._ops.custom_gradient import custom_gradient
from keras_attention._ops.tiling import Tiles, get_tile, pad_to_tiles, set_tile, tiles_of
from keras_attention._ops.while_loop import sequential_fori_loop

# The steps of a tile, whose logits take at most 64 MB in float32. Each tile adds to a gradient as
# large as the kernel, which would take long with few steps in each.
LOGITS_PER_TILE, MIN_STEPS, MAX_STEPS = 2**24, 64, 640


def linear_crossentropy(
    targets: Tensor,
    features: Tensor,
    kernel: Tensor,
    bias: Tensor = None,
    weights: Tensor = None,
    label_smoothing: float = 0.0,
    training: bool = True,
) -> Tensor:
    """The summed cross-entropy of softmax(features @ kernel + bias), without stored logits.

        sum_bt w_bt -log p_bt(y_bt),   p_bt = softmax(x_bt W + b)

    With label smoothing e, (1 - e) log p(y) + e mean_v log p(v) replaces log p(y).

    Args:
        targets: (B, T), or any shape (...): the target ids y, integers. A target outside of the
            vocabulary makes the loss NaN, unless its weight is zero.
        features: (B, T, D), x, the input of the head.
        kernel: (D, V), W, a tensor or a variable.
        bias: (V,), b.
        weights: (B, T), w, through which no gradient flows. The default is ones, which gives the
            sum of the losses. For the mean over a mask, pass the mask divided by its sum.
        label_smoothing: e, at least 0 and below 1.
        training: Whether gradients are needed. They are computed together with the loss, which then
            takes three times as long.

    Returns:
        A scalar, in at least float32. Gradients flow to the features, the kernel and the bias.
        Second gradients raise a `NotImplementedError`.

    Raises:
        ValueError: If the shapes do not match, or `label_smoothing` is not in [0, 1).

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
    feature_dim, vocabulary = kernel.shape
    validation.mask("bias", bias, (vocabulary,), "(vocabulary,)")
    validation.equal("features", features.shape[-1], "kernel", feature_dim, "width")
    targets = ops.cast(targets, "int32")
    weights = ops.ones_like(targets) if weights is None else ops.convert_to_tensor(weights)
    for argument, x in (("targets", targets), ("weights", weights)):
        validation.mask(argument, x, features.shape[:-1], "as many as features")
    validation.dropout_rate("label_smoothing", label_smoothing)
    dtype = backend.standardize_dtype(features.dtype)
    accumulation_dtype = at_least_float32(dtype)
    if dtype == "float16":  # in which the gradients of most words would underflow
        features = ops.cast(features, accumulation_dtype)
    weights = ops.stop_gradient(ops.cast(weights, accumulation_dtype))
    spoiled = weights * nan_if_out_of_vocabulary(targets, vocabulary, accumulation_dtype)
    weights = ops.where(weights == 0, 0, spoiled)
    # Targets and weights are arguments of the custom gradient too, as JAX may trace in scopes of
    # its own; targets as floats, since integers have no gradient. The products with 1 turn
    # variables into tensors, since a custom gradient does not take variables.
    inputs = [
        ops.reshape(ops.cast(targets, accumulation_dtype), (-1,)),
        ops.reshape(weights, (-1,)),
        ops.reshape(features, (-1, feature_dim)),
        ops.cast(kernel, features.dtype) * 1.0,
    ]
    if bias is not None:
        inputs.append(ops.cast(bias, accumulation_dtype) * 1.0)
    max_steps = min(max(LOGITS_PER_TILE // vocabulary, MIN_STEPS), MAX_STEPS)
    tiles = tiles_of(ops.shape(inputs[0])[0], max_steps)
    if not training:
        return _loss_only(tiles, label_smoothing, *inputs)

    @custom_gradient
    def loss_with_gradient(*inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        loss, gradients = _loss_and_gradients(tiles, label_smoothing, *inputs)
        targets, weights, *differentiable = inputs

        def gradients_of(upstream: Tensor) -> tuple[Tensor, ...]:
            results = (
                ops.cast(upstream * _once_differentiable(gradient, *differentiable), x.dtype)
                for gradient, x in zip(gradients, differentiable, strict=True)
            )
            return ops.zeros_like(targets), ops.zeros_like(weights), *results

        return loss, gradients_of

    return loss_with_gradient(*inputs)


def token_losses(
    logits: Tensor, log_totals: Tensor, targets: Tensor, label_smoothing: float
) -> Tensor:
    """Returns the losses (...) of logits (..., V) with log_totals = log sum_v exp(logits_v)."""
    indices = ops.expand_dims(ops.clip(ops.cast(targets, "int32"), 0, logits.shape[-1] - 1), -1)
    target_logits = ops.squeeze(ops.take_along_axis(logits, indices, axis=-1), -1)
    expected_logits = (1 - label_smoothing) * target_logits
    if label_smoothing:
        expected_logits = expected_logits + label_smoothing * ops.mean(logits, axis=-1)
    return ops.squeeze(log_totals, -1) - expected_logits


def nan_if_out_of_vocabulary(targets: Tensor, vocabulary: int, dtype: Any) -> Tensor:
    """Returns 1 for targets of the vocabulary, and NaN for others: a factor of their losses."""
    is_known = ops.logical_and(targets >= 0, targets < vocabulary)
    return ops.cast(ops.where(is_known, 1.0, float("nan")), dtype)


def _loss_only(tiles: Tiles, label_smoothing: float, *inputs: Tensor) -> Tensor:
    targets, weights, features, *kernel_and_bias = inputs
    split = [_split_into_tiles(x, tiles) for x in (targets, weights, features)]

    def body(i: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tile = (get_tile(x, i) for x in split)
        return (state[0] + _tile_loss(label_smoothing, *tile, *kernel_and_bias)[0],)

    state = (ops.zeros((), dtype=weights.dtype),)
    return sequential_fori_loop(0, tiles.count, body, state)[0]


def _loss_and_gradients(
    tiles: Tiles, label_smoothing: float, *inputs: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Returns the loss and its gradients with respect to features, kernel and bias."""
    targets, weights, features, kernel, *bias = inputs
    split = [_split_into_tiles(x, tiles) for x in (targets, weights, features)]
    dtype, vocabulary = backend.standardize_dtype(weights.dtype), kernel.shape[1]

    def body(i: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        loss, d_features, d_kernel, *d_bias = state
        y, w, x = (get_tile(each, i) for each in split)
        tile_loss, probabilities = _tile_loss(label_smoothing, y, w, x, kernel, *bias)
        target_probs = ops.one_hot(ops.cast(y, "int32"), vocabulary, dtype=dtype)
        if label_smoothing:
            target_probs = (1 - label_smoothing) * target_probs + label_smoothing / vocabulary
        d_logits = ops.cast(ops.expand_dims(w, 1) * (probabilities - target_probs), x.dtype)
        d_x = ops.cast(ops.matmul(d_logits, ops.transpose(kernel)), dtype)
        d_kernel = d_kernel + ops.cast(ops.matmul(ops.transpose(x), d_logits), dtype)
        d_bias = [each + ops.sum(ops.cast(d_logits, dtype), axis=0) for each in d_bias]
        return loss + tile_loss, set_tile(d_features, i, d_x), d_kernel, *d_bias

    zeros = (ops.zeros_like(x, dtype=dtype) for x in (split[2], kernel, *bias))
    state = (ops.zeros((), dtype=dtype), *zeros)
    loss, d_features, *gradients = sequential_fori_loop(0, tiles.count, body, state)
    d_features = ops.reshape(d_features, (-1, features.shape[1]))[: tiles.length]
    return loss, [d_features, *gradients]


def _tile_loss(label_smoothing: float, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the summed loss of a tile of steps and their probabilities (N / n, V)."""
    targets, weights, features, kernel, *bias = inputs
    logits = ops.cast(ops.matmul(features, kernel), weights.dtype)  # (N / n, V)
    logits = logits + bias[0] if bias else logits
    largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))  # its gradient is zero
    exponentials = ops.exp(logits - largest)
    totals = ops.sum(exponentials, axis=-1, keepdims=True)
    losses = token_losses(logits, largest + ops.log(totals), targets, label_smoothing)
    loss = ops.sum(ops.where(weights == 0, 0, weights * losses))
    return loss, exponentials / totals


def _split_into_tiles(x: Tensor, tiles: Tiles) -> Tensor:
    """(N, ...) to (n, N / n, ...)."""
    return ops.reshape(pad_to_tiles(x, 0, tiles), (tiles.count, tiles.size, *x.shape[1:]))


@custom_gradient
def _once_differentiable(gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    """The identity; raises on a second derivative, which would be zero without an error."""

    def raise_error(upstream: Tensor) -> None:
        raise NotImplementedError(
            "linear_crossentropy has no second gradients; compute them from a loss of the logits."
        )

    return ops.copy(gradient), raise_error
