"""Alignments, one row of scores at a time, in plain loops.

A row is a list of S numbers, `allowed` S booleans. Where nothing is allowed, all weights are zero.
"""

import math


def sparsemax(row, allowed):
    """Martins 2016, eq. 1: the tau whose weights sum to 1, by bisection."""
    return _sum_to_one(lambda e, tau: max(e - tau, 0.0), row, allowed)


def entmax15(row, allowed):
    """Peters 2019, alpha = 1.5: max(e / 2 - tau, 0)^2, by bisection for tau."""
    return _sum_to_one(lambda e, tau: max(e / 2 - tau, 0.0) ** 2, row, allowed)


def _sum_to_one(weight, row, allowed):
    if not any(allowed):
        return [0.0] * len(row)
    highest = max(float(e) for e, ok in zip(row, allowed, strict=True) if ok)

    def weights(tau):
        return [
            weight(float(e) - highest, tau) if ok else 0.0
            for e, ok in zip(row, allowed, strict=True)
        ]

    low, high = -2.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weights(middle)) > 1 else (low, middle)
    return weights(low)


def in_window(allowed, position, window):
    """Luong 2015, section 3.2: what is allowed in [p - D, p + D]."""
    return [ok and abs(s - position) <= window for s, ok in enumerate(allowed)]


def predicted_position(query, kernel, vector, allowed):
    """Luong 2015, eq. 9, with the last allowed position + 1 as the length."""
    length = max((s + 1 for s, ok in enumerate(allowed) if ok), default=0)
    total = 0.0
    for u in range(len(vector)):
        hidden = sum(float(query[i]) * kernel[i, u] for i in range(len(query)))
        total += vector[u] * math.tanh(hidden)
    return length / (1 + math.exp(-total))


def gaussian(weights, position, window):
    """Luong 2015, eq. 10: the weights times a Gaussian with sigma = D / 2."""
    sigma = window / 2
    return [
        weight * math.exp(-((s - position) ** 2) / (2 * sigma**2))
        for s, weight in enumerate(weights)
    ]


def monotonic(row, allowed, last, bias):
    """Raffel 2017, eq. 9-10: the chance to stop at j, of a walk that starts where `last` says."""
    weights, arrived, passed = [], 0.0, 1.0
    for e, ok, start in zip(row, allowed, last, strict=True):
        chosen = 1 / (1 + math.exp(-(float(e) + bias))) if ok else 0.0
        arrived = passed * arrived + start
        weights.append(chosen * arrived)
        passed = 1 - chosen
    return weights
