"""The Transformer, one number at a time, for one example each.

A block's weights are a dict: those of its attentions as `oracles.self_attention.multi_head` has
them, and of each norm (gamma, beta), and of the feed-forward network (W_1, b_1, W_2, b_2).
"""

import math

import numpy as np

from oracles.self_attention import multi_head, project


def position_encoding(inputs, scale, positions=None, max_wavelength=10000):
    """Vaswani 2017, section 3.5, and the scale of section 3.4: (T, D)."""
    width = inputs.shape[1]
    result = np.zeros(inputs.shape)
    for t, d in np.ndindex(inputs.shape):
        position = t if positions is None else positions[t]
        i = d // 2
        angle = position / max_wavelength ** (2 * i / width)
        wave = math.sin(angle) if d == 2 * i else math.cos(angle)
        result[t, d] = (math.sqrt(width) if scale else 1.0) * inputs[t, d] + wave
    return result


def layer_norm(x, norm, epsilon):
    """Ba 2016, eq. 3: every vector less its mean, over its standard deviation."""
    gamma, beta = norm
    result = np.zeros(x.shape)
    for t in range(len(x)):
        mean = sum(x[t]) / len(x[t])
        variance = sum((value - mean) ** 2 for value in x[t]) / len(x[t])
        for d in range(len(x[t])):
            result[t, d] = gamma[d] * (x[t, d] - mean) / math.sqrt(variance + epsilon) + beta[d]
    return result


def feed_forward(x, weights, activation):
    """Vaswani 2017, eq. 2."""
    first, first_bias, second, second_bias = weights
    hidden = project(x, first, first_bias)
    for index in np.ndindex(hidden.shape):
        hidden[index] = activation(hidden[index])
    return project(hidden, second, second_bias)


def residual(x, norm, sublayer, norm_first, epsilon):
    """Section 3.1, or with the norm first Xiong 2020, figure 1; and what else the sublayer says."""
    if norm_first:
        added, more = sublayer(layer_norm(x, norm, epsilon))
        return x + added, more
    added, more = sublayer(x)
    return layer_norm(x + added, norm, epsilon), more


def encoder_block(x, allowed, heads, weights, activation, norm_first, epsilon):
    """Output (T, D) and weights (heads, T, T); `allowed` is (T, T)."""

    def attend(x):
        return multi_head(x, x, allowed, heads, **weights["self_attention"])

    def think(x):
        return feed_forward(x, weights["feed_forward"], activation), None

    x, looked = residual(x, weights["self_attention_norm"], attend, norm_first, epsilon)
    x, _ = residual(x, weights["feed_forward_norm"], think, norm_first, epsilon)
    return x, looked


def decoder_block(x, memory, allowed, over, heads, weights, activation, norm_first, epsilon):
    """Output (T, D) and weights over the memory (heads, T, S); `over` is where they may be."""

    def attend(x):
        return multi_head(x, x, allowed, heads, **weights["self_attention"])

    def cross(x):
        return multi_head(x, memory, over, heads, **weights["cross_attention"])

    def think(x):
        return feed_forward(x, weights["feed_forward"], activation), None

    x, _ = residual(x, weights["self_attention_norm"], attend, norm_first, epsilon)
    x, looked = residual(x, weights["cross_attention_norm"], cross, norm_first, epsilon)
    x, _ = residual(x, weights["feed_forward_norm"], think, norm_first, epsilon)
    return x, looked
