"""REINFORCE: the loss that trains the score of a hard attention from its samples."""

from keras import backend, ops

from keras_attention._internal import validation
from keras_attention._internal.precision import at_least_float32
from keras_attention._internal.typing import Tensor


def reinforce(
    log_likelihood: Tensor,
    log_prob: Tensor,
    entropy: Tensor,
    baseline: Tensor,
    reward_weight: float = 1.0,
    entropy_weight: float = 0.01,
) -> Tensor:
    """The loss whose gradient is the REINFORCE estimate for the samples of a hard attention.

    The paper maximizes L_s = sum_s p(s | a) log p(y | s, a) with one sample s~ (section 4.1):

        d log p(y | s~, a) + lambda_r (log p(y | s~, a) - b) d log p(s~ | a) + lambda_e dH[s~]

    The first term comes from the model's own loss. This function returns the loss of the other two,
    with the opposite sign and with the reward log p(y | s~, a) - b as a constant:

        -lambda_r (log p(y | s~, a) - b) log p(s~ | a) - lambda_e H[s~]

    With lambda_r = 1, lambda_e = 0 and a baseline that does not depend on the sample, the sum of
    the gradients of both losses is an unbiased estimate of the gradient of L_s, with the opposite
    sign. The expected weights that `ka.alignments.Hard` mixes in, and the entropy term, give up
    unbiasedness for less variance.

    Args:
        log_likelihood: (B,), log p(y | s~, a): the sum over the words of a sequence.
        log_prob: (B,) or (B, 1), log p(s~ | a): `state["attention"]["log_prob"]` of the state that
            `decode` of a decoder or of a `ka.models.EncoderDecoder` returns.
        entropy: (B,) or (B, 1), H[s~]: `state["attention"]["entropy"]`.
        baseline: b, a number or (B,). See `moving_average`.
        reward_weight: lambda_r.
        entropy_weight: lambda_e.

    Returns:
        (B,), in at least float32.

    Raises:
        ValueError: If the shapes do not match.

    Example:

    >>> loss = ka.losses.reinforce(np.array([-1.0]), np.array([[-2.0]]), np.array([[0.5]]), -3.0)
    >>> np.array(loss).round(3).tolist()
    [3.995]

    Reference: Xu et al. 2015, "Show, Attend and Tell: Neural Image Caption Generation with Visual
    Attention", arXiv:1502.03044, section 4.1; Williams 1992, "Simple Statistical Gradient-Following
    Algorithms for Connectionist Reinforcement Learning".
    """
    log_likelihood = _as_vector("log_likelihood", log_likelihood)
    log_prob, entropy = _as_vector("log_prob", log_prob), _as_vector("entropy", entropy)
    baseline = _as_vector("baseline", baseline)
    size = log_likelihood.shape[0]
    for argument, x in (("log_prob", log_prob), ("entropy", entropy), ("baseline", baseline)):
        if argument != "baseline" or x.shape[0] != 1:
            validation.equal(argument, x.shape[0], "log_likelihood", size, "batch size")
    reward = ops.stop_gradient(ops.subtract(log_likelihood, baseline))
    return ops.subtract(-reward_weight * ops.multiply(reward, log_prob), entropy_weight * entropy)


def moving_average(baseline: Tensor, log_likelihood: Tensor, decay: float = 0.9) -> Tensor:
    """Returns the baseline for the next batch, updated with this one.

        b_k = 0.9 b_{k-1} + 0.1 log p(y | s~_k, a)                      (section 4.1)

    Here the mean over a batch takes the place of one sample. Keep b in a variable that
    `add_weight(trainable=False, aggregation="mean")` makes. Under `tf.distribute.MirroredStrategy`,
    each device has a part of the batch; without the aggregation, each would have a baseline of its
    own.

    Args:
        baseline: b_{k-1}, a number. For the first batch, use for example the batch's own mean.
        log_likelihood: (B,), as in `reinforce`.
        decay: Weight of the previous baseline. The paper uses 0.9.

    Returns:
        A scalar, b_k, in at least float32. No gradient flows through `log_likelihood`.

    Raises:
        ValueError: If `log_likelihood` is neither (B,) nor (B, 1).

    Example:

    >>> float(ka.losses.moving_average(-3.0, np.array([-1.0, -2.0])))
    -2.85

    Reference: Xu et al. 2015, arXiv:1502.03044, section 4.1.
    """
    mean = ops.mean(_as_vector("log_likelihood", log_likelihood))
    return decay * ops.cast(baseline, mean.dtype) + (1 - decay) * ops.stop_gradient(mean)


def _as_vector(argument: str, values: Tensor) -> Tensor:
    """Returns (B,) from (B,) or (B, 1), and (1,) from a number, in at least float32."""
    values = ops.convert_to_tensor(values)
    if tuple(values.shape[1:]) not in ((), (1,)):
        raise ValueError(
            f"`{argument}` has shape {tuple(values.shape)}; expected (batch,) or (batch, 1)."
        )
    dtype = at_least_float32(backend.standardize_dtype(values.dtype))
    return ops.reshape(ops.cast(values, dtype), (-1,))
