"""Graves 2013, section 5.1: a window of Gaussians over positions, one number at a time."""

import math

import numpy as np


def window(query, centers, positions, kernel, bias):
    """Weights (S,) by eq. 46 and the next centers (K,), of one query (Dq,), by eq. 48 to 51."""
    size = len(bias) // 3
    logs = [
        bias[i] + sum(float(query[d]) * kernel[d, i] for d in range(len(query)))
        for i in range(3 * size)
    ]
    weights, moved = np.zeros(positions), np.zeros(size)
    for k in range(size):
        alpha, beta = math.exp(logs[k]), math.exp(logs[size + k])
        moved[k] = centers[k] + math.exp(logs[2 * size + k])
        for u in range(1, positions + 1):
            weights[u - 1] += alpha * math.exp(-beta * (moved[k] - u) ** 2)
    return weights, moved


def attend(query, value, allowed, kernel, bias):
    """Contexts (B, T, D) and weights (B, T, S); `allowed` is (B, T, S)."""
    contexts, all_weights = np.zeros((*query.shape[:2], value.shape[2])), np.zeros(allowed.shape)
    for b in range(len(query)):
        centers = np.zeros(len(bias) // 3)
        for t in range(query.shape[1]):
            if not allowed[b, t].any():  # as if the step were not there
                continue
            weights, centers = window(query[b, t], centers, value.shape[1], kernel, bias)
            for s in range(value.shape[1]):
                if allowed[b, t, s]:
                    all_weights[b, t, s] = weights[s]
                    contexts[b, t] += weights[s] * value[b, s]
    return contexts, all_weights


def bahdanau(cell, inputs, memory, states, inputs_mask, memory_mask, kernel, bias):
    """Bahdanau's decoder over the window, one sequence: outputs (T, H), weights (T, S), states."""
    outputs, all_weights = [], []
    centers = np.zeros(len(bias) // 3)
    for x, real in zip(inputs, inputs_mask, strict=True):
        weights, moved = window(states[0], centers, len(memory), kernel, bias)
        weights = np.where(memory_mask, weights, 0.0)
        context = sum(weights[s] * memory[s] for s in range(len(memory)))
        output, next_states = cell(np.concatenate([x, context]), states)
        if real:
            states, centers = next_states, moved
        outputs.append(output if real else np.zeros_like(output))
        all_weights.append(weights if real else np.zeros_like(weights))
    return np.stack(outputs), np.stack(all_weights), states
