"""Scores, masked softmax and attention, one number at a time.

A score is a function of one query vector and one memory vector. Masks are boolean (B, T, S).
"""

import math

import numpy as np


def dot(query, memory):
    """Luong 2015, eq. 8: h . m."""
    return sum(float(q) * float(m) for q, m in zip(query, memory, strict=True))


def scaled_dot(query, memory):
    """Vaswani 2017, eq. 1: q . k / sqrt(D)."""
    return dot(query, memory) / math.sqrt(len(query))


def general(kernel, scale=1.0):
    """Luong 2015, eq. 8: h^T W m, where `kernel` (Dk, Dq) is W transposed."""

    def score(query, memory):
        total = 0.0
        for i in range(len(memory)):
            for j in range(len(query)):
                total += memory[i] * kernel[i, j] * query[j]
        return scale * total

    return score


def additive(query_kernel, key_kernel, score_vector, gain=None, bias=None):
    """Bahdanau 2015, A.1.2: v . tanh(W q + U k); with `gain` and `bias` weight-normalised."""
    units = len(score_vector)
    if gain is None:
        direction, offset = score_vector, [0.0] * units
    else:
        length = math.sqrt(sum(v * v for v in score_vector))
        direction, offset = [gain * v / length for v in score_vector], bias

    def score(query, memory):
        total = 0.0
        for u in range(units):
            hidden = offset[u]
            hidden += sum(query[i] * query_kernel[i, u] for i in range(len(query)))
            hidden += sum(memory[i] * key_kernel[i, u] for i in range(len(memory)))
            total += direction[u] * math.tanh(hidden)
        return total

    return score


def scores(score, query, keys):
    """(B, T, S): each of `query` (B, T, Dq) against each of `keys` (B, S, Dk)."""
    result = np.zeros((query.shape[0], query.shape[1], keys.shape[1]))
    for b, t, s in np.ndindex(result.shape):
        result[b, t, s] = score(query[b, t].astype(float), keys[b, s].astype(float))
    return result


def softmax_row(row, allowed):
    """Weights of one row of scores: zero where not `allowed`, all zero where nothing is."""
    weights = [0.0] * len(row)
    if not any(allowed):
        return weights
    highest = max(float(x) for x, ok in zip(row, allowed, strict=True) if ok)
    total = 0.0
    for s, ok in enumerate(allowed):
        if ok:
            weights[s] = math.exp(float(row[s]) - highest)
            total += weights[s]
    return [weight / total for weight in weights]


def masked_softmax(score_values, mask=None):
    """`softmax_row` of every row of (B, T, S); `mask` broadcasts to that shape."""
    mask = np.broadcast_to(True if mask is None else mask, score_values.shape)
    result = np.zeros(score_values.shape)
    for index in np.ndindex(score_values.shape[:-1]):
        result[index] = softmax_row(score_values[index], mask[index])
    return result


def combine(
    shape, query_mask=None, value_mask=None, key_mask=None, attention_mask=None, causal=False
):
    """(B, T, S): position s is allowed for query t where every given mask says so."""
    allowed = np.ones(shape, bool)
    for b, t, s in np.ndindex(shape):
        if query_mask is not None and not query_mask[b, t]:
            allowed[b, t, s] = False
        for memory_mask in (value_mask, key_mask):
            if memory_mask is not None and not memory_mask[b, s]:
                allowed[b, t, s] = False
        if attention_mask is not None:
            row = attention_mask if attention_mask.ndim == 2 else attention_mask[b]
            allowed[b, t, s] &= bool(row[t, s])
        if causal and s > t:
            allowed[b, t, s] = False
    return allowed


def attend(score, query, value, key=None, mask=None):
    """Context (B, T, Dv) and weights (B, T, S): c_t = sum_s a_ts v_s (Bahdanau 2015, eq. 5)."""
    weights = masked_softmax(scores(score, query, value if key is None else key), mask)
    context = np.zeros((*weights.shape[:2], value.shape[2]))
    for b, t, s in np.ndindex(weights.shape):
        for d in range(value.shape[2]):
            context[b, t, d] += weights[b, t, s] * float(value[b, s, d])
    return context, weights
