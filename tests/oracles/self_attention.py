"""Self-attention and pooling, one number at a time, for one example each."""

import math

import numpy as np

from oracles.attention import softmax_row


def project(sequence, kernel, bias=None):
    """Each vector of `sequence` (T, D) times `kernel` (D, U), plus `bias` (U,)."""
    result = np.zeros((len(sequence), kernel.shape[1]))
    for t, u in np.ndindex(result.shape):
        result[t, u] = 0.0 if bias is None else bias[u]
        for d in range(len(kernel)):
            result[t, u] += sequence[t, d] * kernel[d, u]
    return result


def multi_head(
    query, value, allowed, heads, query_kernel, key_kernel, value_kernel, output_kernel,
    query_bias=None, value_bias=None, output_bias=None, key=None,
):  # fmt: skip
    """Vaswani 2017, section 3.2.2: output (T, D) and weights (heads, T, S).

    Head i owns the i-th block of columns of the kernels; `allowed` is (T, S), or
    (heads, T, S).
    """
    key = value if key is None else key
    queries, keys = project(query, query_kernel, query_bias), project(key, key_kernel)
    values = project(value, value_kernel, value_bias)
    key_dim, value_dim = queries.shape[1] // heads, values.shape[1] // heads
    weights = np.zeros((heads, len(query), len(value)))
    concatenated = np.zeros((len(query), heads * value_dim))
    for head in range(heads):
        columns = range(head * key_dim, (head + 1) * key_dim)
        for t in range(len(query)):
            scores = [
                sum(queries[t, c] * keys[s, c] for c in columns) / math.sqrt(key_dim)
                for s in range(len(value))
            ]
            row = allowed[t] if allowed.ndim == 2 else allowed[head, t]
            weights[head, t] = softmax_row(scores, row)
            for s in range(len(value)):
                for c in range(head * value_dim, (head + 1) * value_dim):
                    concatenated[t, c] += weights[head, t, s] * values[s, c]
    return project(concatenated, output_kernel, output_bias), weights


def pooling(sequence, mask, kernel, bias, context_vector):
    """Yang 2016, word attention: s (D,) and weights (S,)."""
    hidden = project(sequence, kernel, bias)
    scores = [
        sum(math.tanh(hidden[s, u]) * context_vector[u] for u in range(len(context_vector)))
        for s in range(len(sequence))
    ]
    weights = softmax_row(scores, mask)
    result = np.zeros(sequence.shape[1])
    for s, d in np.ndindex(sequence.shape):
        result[d] += weights[s] * sequence[s, d]
    return result, np.array(weights)


def structured(sequence, mask, kernel, hop_kernel):
    """Lin 2017, section 2: M (hops, D) and A (hops, S)."""
    hidden = project(sequence, kernel)
    units, hops = hop_kernel.shape
    weights, result = np.zeros((hops, len(sequence))), np.zeros((hops, sequence.shape[1]))
    for hop in range(hops):
        scores = [
            sum(math.tanh(hidden[s, u]) * hop_kernel[u, hop] for u in range(units))
            for s in range(len(sequence))
        ]
        weights[hop] = softmax_row(scores, mask)
        for s, d in np.ndindex(sequence.shape):
            result[hop, d] += weights[hop, s] * sequence[s, d]
    return result, weights


def penalty(weights):
    """Lin 2017, section 2: the squared Frobenius norm of A A^T - I, for A (hops, S)."""
    total = 0.0
    for i, j in np.ndindex(len(weights), len(weights)):
        product = sum(weights[i, s] * weights[j, s] for s in range(weights.shape[1]))
        total += (product - (i == j)) ** 2
    return total


def sagan(x, f_kernel, g_kernel, h_kernel, v_kernel, gamma):
    """Zhang 2018, section 3: y (H, W, C) and beta (H, W, H, W), the query's place first."""
    places = list(np.ndindex(x.shape[:2]))
    flat = np.array([x[place] for place in places])  # (HW, C)
    f, g, h = project(flat, f_kernel), project(flat, g_kernel), project(flat, h_kernel)
    y, beta = np.zeros(x.shape), np.zeros((*x.shape[:2], *x.shape[:2]))
    for j, query in enumerate(places):
        scores = [sum(f[i, c] * g[j, c] for c in range(f.shape[1])) for i in range(len(places))]
        row = softmax_row(scores, [True] * len(places))
        mixed = np.zeros(h.shape[1])
        for i, place in enumerate(places):
            beta[query + place] = row[i]
            mixed += row[i] * h[i]
        y[query] = gamma * project(mixed[None], v_kernel)[0] + flat[j]
    return y, beta


def _sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def lstmn(
    x, mask, hidden_kernel, input_kernel, summary_kernel, score_vector, kernel, bias
):  # fmt: skip
    """Cheng 2016, section 3: hidden states (T, U), weights (T, T), step by step over the tapes."""
    steps, units = len(x), len(score_vector)
    outputs, weights = np.zeros((steps, units)), np.zeros((steps, steps))
    tape = []  # (step, h, c)
    summary = np.zeros(units)  # h~ of the last step
    for t in range(steps):
        if not mask[t]:
            continue
        scores = []
        for _, h, _ in tape:
            hidden = project(h[None], hidden_kernel) + project(x[t][None], input_kernel)
            hidden += project(summary[None], summary_kernel)
            scores.append(
                sum(v * math.tanh(a) for v, a in zip(score_vector, hidden[0], strict=True))
            )
        summary, memory = np.zeros(units), np.zeros(units)
        for weight, (i, h, c) in zip(softmax_row(scores, [True] * len(tape)), tape, strict=True):
            weights[t, i] = weight
            summary, memory = summary + weight * h, memory + weight * c
        gates = project(np.concatenate([summary, x[t]])[None], kernel, bias)[0]
        cell, output = np.zeros(units), np.zeros(units)
        for u in range(units):
            enter, forget, leave = (_sigmoid(gates[k * units + u]) for k in range(3))
            cell[u] = forget * memory[u] + enter * math.tanh(gates[3 * units + u])
            output[u] = leave * math.tanh(cell[u])
        tape.append((t, output, cell))
        outputs[t] = output
    return outputs, weights
