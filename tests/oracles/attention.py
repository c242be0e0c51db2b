"""Scores, masked softmax and attention, one number at a time.

A score is a function of one query vector, one memory vector and its position. Masks are boolean
(B, T, S).
"""

import math

import numpy as np


def dot(query, memory, position=None):
    """Luong 2015, section 3.1: h . m."""
    return sum(float(q) * float(m) for q, m in zip(query, memory, strict=True))


def scaled_dot(query, memory, position=None):
    """Vaswani 2017, eq. 1: q . k / sqrt(D)."""
    return dot(query, memory) / math.sqrt(len(query))


def location(kernel):
    """Luong 2015, eq. 8: W h at each position, where `kernel` (Dq, max_length) is W transposed."""

    def score(query, memory, position):
        return sum(float(query[i]) * kernel[i, position] for i in range(len(query)))

    return score


def cosine(strength_kernel, strength_bias):
    """Graves 2014, eq. 5-6: the cosine, times the strength softplus(w . q + b)."""

    def score(query, memory, position=None):
        strength = dot(query, strength_kernel) + float(strength_bias)
        lengths = math.sqrt(dot(query, query)) * math.sqrt(dot(memory, memory))
        return math.log1p(math.exp(strength)) * dot(query, memory) / lengths if lengths else 0.0

    return score


def general(kernel, scale=1.0):
    """Luong 2015, section 3.1: h^T W m, where `kernel` (Dk, Dq) is W transposed."""

    def score(query, memory, position=None):
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

    def score(query, memory, position=None):
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
        result[b, t, s] = score(query[b, t].astype(float), keys[b, s].astype(float), s)
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


def softmax_alignment(row, allowed, query, t, last):
    """An alignment: weights of one row of scores, given query, step and the last weights."""
    return softmax_row(row, allowed)


def look(score, alignment, query, memory, key, allowed, remembered):
    """One step: context, weights, and what to remember: the number of steps, the last weights.

    What has nothing to attend to is no step.
    """
    step, last = remembered or (0, [1.0] + [0.0] * (len(memory) - 1))
    row = [score(query, key[s], s) for s in range(len(memory))]
    weights = alignment(row, list(allowed), query, step, last)
    context = np.zeros(memory.shape[1])
    for s, weight in enumerate(weights):
        context += weight * memory[s]
    return context, np.asarray(weights), (step + 1, weights) if any(allowed) else (step, last)


def attend(score, query, value, key=None, mask=None, alignment=softmax_alignment):
    """Context (B, T, Dv) and weights (B, T, S): c_t = sum_s a_ts v_s (Bahdanau 2015, eq. 5)."""
    key = value if key is None else key
    weights = np.zeros((*query.shape[:2], value.shape[1]))
    context = np.zeros((*query.shape[:2], value.shape[2]))
    mask = np.broadcast_to(True if mask is None else mask, weights.shape)
    query, key, value = (x.astype(float) for x in (query, key, value))
    for b in range(len(query)):
        remembered = None
        for t in range(query.shape[1]):
            context[b, t], weights[b, t], remembered = look(
                score, alignment, query[b, t], value[b], key[b], mask[b, t], remembered
            )
    return context, weights
