"""Losses on attention weights, one example and one number at a time."""

import math

import numpy as np


def diagonal_alignment(weights, query_mask, memory_mask, width):
    """Tachibana 2018, section 4.1: the mean of A_nt W_nt over the example without its padding."""
    weights = weights[query_mask][:, memory_mask]
    steps, length = weights.shape
    total = 0.0
    for t, n in np.ndindex(steps, length):
        distance = n / length - t / steps
        total += weights[t, n] * (1 - math.exp(-(distance**2) / (2 * width**2)))
    return total / max(steps * length, 1)
