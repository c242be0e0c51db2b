"""SNAIL's blocks, one number at a time, for one example each."""

import math

import numpy as np

from oracles.attention import softmax_row
from oracles.self_attention import project


def dense_block(x, mask, dilation_rate, kernel, bias):
    """Mishra 2018, section 3, "DenseBlock": (T, D + filters).

    The kernel (2, D, 2 filters) holds what the earlier and the present step count, in the columns
    of x_f and then in those of x_g. A step that does not count is like one before the first.
    """
    steps, width = x.shape
    filters = kernel.shape[2] // 2
    outputs = np.zeros((steps, width + filters))
    for t in range(steps):
        if not mask[t]:
            continue
        outputs[t, :width] = x[t]
        both = [bias[column] for column in range(2 * filters)]
        for column, d in np.ndindex(2 * filters, width):
            both[column] += kernel[1, d, column] * x[t, d]
            earlier = t - dilation_rate
            if earlier >= 0 and mask[earlier]:
                both[column] += kernel[0, d, column] * x[earlier, d]
        for f in range(filters):
            gate = 1 / (1 + math.exp(-both[filters + f]))
            outputs[t, width + f] = math.tanh(both[f]) * gate
    return outputs


def tc_block(x, mask, sequence_length, weights):
    """Mishra 2018, section 3, "TCBlock", with dilations from 1 on; `weights` of block by block."""
    blocks = 0
    while 2**blocks < sequence_length:  # blocks = ceil(log2(sequence_length))
        blocks += 1
    assert len(weights) == blocks
    outputs = np.where(mask[:, None], x, 0.0)
    for i, (kernel, bias) in enumerate(weights):
        outputs = dense_block(outputs, mask, 2**i, kernel, bias)
    return outputs


def attention_block(
    x, mask, query_kernel, query_bias, key_kernel, value_kernel, value_bias
):  # fmt: skip
    """Mishra 2018, section 3, "AttentionBlock": outputs (T, D + V) and weights (T, T)."""
    x = np.where(mask[:, None], x, 0.0)
    steps, (width, key_dim) = len(x), query_kernel.shape
    queries, keys = project(x, query_kernel, query_bias), project(x, key_kernel)
    values = project(x, value_kernel, value_bias)
    outputs = np.zeros((steps, width + values.shape[1]))
    weights = np.zeros((steps, steps))
    for t in range(steps):
        scores = [
            sum(queries[t, k] * keys[s, k] for k in range(key_dim)) / math.sqrt(key_dim)
            for s in range(steps)
        ]
        may = [bool(mask[t] and mask[s] and s <= t) for s in range(steps)]
        weights[t] = softmax_row(scores, may)
        outputs[t, :width] = x[t]
        for s in range(steps):
            for v in range(values.shape[1]):
                outputs[t, width + v] += weights[t, s] * values[s, v]
    return outputs, weights
