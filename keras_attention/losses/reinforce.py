"""REINFORCE: what the score of a hard attention learns from its draws."""

from keras import backend, ops

from keras_attention._internal import validation


def reinforce(log_likelihood, log_prob, entropy, baseline, reward_weight=1.0, entropy_weight=0.01):
    """The loss whose gradient is that of a hard attention's draws.

    The paper ascends L_s = sum_s p(s | a) log p(y | s, a) by one draw s~ (section 4.1):

        d log p(y | s~, a) + lambda_r (log p(y | s~, a) - b) d log p(s~ | a) + lambda_e dH[s~]

    The first term is the gradient of the model's loss. This loss has the other two, with the sign
    turned, and the reward log p(y | s~, a) - b is a constant in it:

        -lambda_r (log p(y | s~, a) - b) log p(s~ | a) - lambda_e H[s~]

    With lambda_r = 1, lambda_e = 0 and a baseline that does not depend on the draw, the gradient of
    both losses is on average that of L_s: it is unbiased. The mix of `ka.alignments.Hard` and the
    entropy trade that for less variance.

    Args:
        log_likelihood: (B,), log p(y | s~, a): the sum over the words of a sequence.
        log_prob: (B,) or (B, 1), log p(s~ | a), and
        entropy: (B,) or (B, 1), H[s~]: `state["attention"]` of `decode`, of a decoder or of
            `ka.models.EncoderDecoder`, has both under these names.
        baseline: b, a number or (B,); see `moving_average`.
        reward_weight: lambda_r.
        entropy_weight: lambda_e.

    Returns:
        (B,), in at least float32.

    Example:

    >>> loss = ka.losses.reinforce(np.array([-1.0]), np.array([[-2.0]]), np.array([[0.5]]), -3.0)
    >>> np.array(loss).round(3).tolist()
    [3.995]

    Reference: Xu et al. 2015, "Show, Attend and Tell: Neural Image Caption Generation with Visual
    Attention", arXiv:1502.03044, section 4.1; Williams 1992, "Simple Statistical Gradient-Following
    Algorithms for Connectionist Reinforcement Learning".
    """
    log_likelihood = _row("log_likelihood", log_likelihood)
    log_prob, entropy = _row("log_prob", log_prob), _row("entropy", entropy)
    baseline = _row("baseline", baseline)
    size = log_likelihood.shape[0]
    validation.equal("log_prob", log_prob.shape[0], "log_likelihood", size, "batch size")
    validation.equal("entropy", entropy.shape[0], "log_likelihood", size, "batch size")
    if baseline.shape[0] != 1:
        validation.equal("baseline", baseline.shape[0], "log_likelihood", size, "batch size")
    reward = ops.stop_gradient(ops.subtract(log_likelihood, baseline))
    return ops.subtract(-reward_weight * ops.multiply(reward, log_prob), entropy_weight * entropy)


def moving_average(baseline, log_likelihood, decay=0.9):
    """Returns the baseline after a batch, to be kept for the next one.

        b_k = 0.9 b_{k-1} + 0.1 log p(y | s~_k, a)                      (section 4.1)

    with the mean of a batch in place of one draw.

    Args:
        baseline: b_{k-1}, a number; the first batch may start from its own mean.
        log_likelihood: (B,), as in `reinforce`.
        decay: 0.9 in the paper.

    Example:

    >>> float(ka.losses.moving_average(-3.0, np.array([-1.0, -2.0])))
    -2.85

    Reference: Xu et al. 2015, arXiv:1502.03044, section 4.1.
    """
    mean = ops.mean(_row("log_likelihood", log_likelihood))
    return decay * ops.cast(baseline, mean.dtype) + (1 - decay) * ops.stop_gradient(mean)


def _row(argument, values):
    """(B,) of (B,) or (B, 1), and (1,) of a number, in at least float32."""
    values = ops.convert_to_tensor(values)
    if tuple(values.shape[1:]) not in ((), (1,)):
        raise ValueError(
            f"`{argument}` has shape {tuple(values.shape)}; expected (batch,) or (batch, 1)."
        )
    dtype = backend.result_type(backend.standardize_dtype(values.dtype), "float32")
    return ops.reshape(ops.cast(values, dtype), (-1,))
