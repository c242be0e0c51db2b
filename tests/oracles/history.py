"""Attention that reads its own past weights, step by step, one number at a time."""

import math

import numpy as np

from oracles.attention import softmax_row


def coverage(query_kernel, key_kernel, coverage_vector, bias, score_vector):
    """See 2017, section 2.3: v . tanh(W_h h_i + W_s s_t + w_c c_i + b)."""

    def scores(query, keys, past):
        covered = np.zeros(len(keys))
        for weights in past:
            for i in range(len(keys)):
                covered[i] += weights[i]
        row = np.zeros(len(keys))
        for i, u in np.ndindex(len(keys), len(bias)):
            hidden = bias[u] + coverage_vector[u] * covered[i]
            hidden += sum(query[d] * query_kernel[d, u] for d in range(len(query)))
            hidden += sum(keys[i, d] * key_kernel[d, u] for d in range(keys.shape[1]))
            row[i] += score_vector[u] * math.tanh(hidden)
        return row

    return scores


def location(
    query_kernel, key_kernel, location_filters, location_kernel, bias, score_vector, cumulative
):
    """Chorowski 2015, section 2; `cumulative` convolves with all past weights, not the last."""
    size, _, filters = location_filters.shape

    def scores(query, keys, past):
        seen = np.zeros(len(keys))
        for weights in past if cumulative else past[-1:]:
            seen = seen + weights
        row = np.zeros(len(keys))
        for j in range(len(keys)):
            features = np.zeros(filters)
            for k, f in np.ndindex(size, filters):
                at = j + k - (size - 1) // 2
                if 0 <= at < len(keys):
                    features[f] += location_filters[k, 0, f] * seen[at]
            for u in range(len(bias)):
                hidden = bias[u] + sum(features[f] * location_kernel[f, u] for f in range(filters))
                hidden += sum(query[d] * query_kernel[d, u] for d in range(len(query)))
                hidden += sum(keys[j, d] * key_kernel[d, u] for d in range(keys.shape[1]))
                row[j] += score_vector[u] * math.tanh(hidden)
        return row

    return scores


def step(scores, query, value, keys, past, allowed):
    """Context (D,) and weights (S,) of one query (Dq,), after the weights `past`, oldest first."""
    weights = np.array(softmax_row(scores(query, keys, past), allowed))
    context = np.zeros(value.shape[1])
    for s in range(len(value)):
        context = context + weights[s] * value[s]
    return context, weights


def attend(scores, query, value, key, allowed):
    """Context (B, T, D) and weights (B, T, S), one step after the other."""
    query, value, key = (x.astype(float) for x in (query, value, value if key is None else key))
    contexts, all_weights = np.zeros((*query.shape[:2], value.shape[2])), np.zeros(allowed.shape)
    for b in range(len(query)):
        past = []
        for t in range(query.shape[1]):
            contexts[b, t], weights = step(
                scores, query[b, t], value[b], key[b], past, allowed[b, t]
            )
            if allowed[b, t].any():
                past.append(weights)
            all_weights[b, t] = weights
    return contexts, all_weights


def bahdanau(cell, scores, inputs, memory, states, inputs_mask, memory_mask):
    """`oracles.decoder.bahdanau` with such an attention: a masked step leaves its past as it was.

    One sequence, and a cell of one state: outputs (T, H), weights (T, S), last states.
    """
    outputs, all_weights, past = [], [], []
    for x, real in zip(inputs, inputs_mask, strict=True):
        context, weights = step(scores, states[0], memory, memory, past, memory_mask)
        output, following = cell(np.concatenate([x, context]), states)
        if real:
            states = following
            past.append(weights)
        outputs.append(output if real else np.zeros_like(output))
        all_weights.append(weights if real else np.zeros_like(weights))
    return np.stack(outputs), np.stack(all_weights), states


def coverage_loss(weights, counted):
    """See 2017, section 2.3, for one sequence (T, S): mean over the steps that are `counted`."""
    total, count = 0.0, 0
    covered = [0.0] * weights.shape[1]
    for t in range(len(weights)):
        if not counted[t] or not weights[t].any():
            continue
        count += 1
        for i, weight in enumerate(weights[t]):
            total += min(weight, covered[i])
            covered[i] += weight
    return total / max(count, 1)
