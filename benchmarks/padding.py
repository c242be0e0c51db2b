"""Batches of sequences that end in padding, and their comparison."""

import numpy as np

from benchmarks.case import compare_with_first


def padding_mask(sizes):
    """Returns (batch, length), False where a sequence is padding: the first one has none."""
    batch, length = sizes["batch"], sizes["length"]
    lengths = np.linspace(length, length / 2, batch, dtype="int32")
    return np.arange(length) < lengths[:, None]


def compare_without_padding(sizes, outputs):
    """Compares gradients, and the outputs of real steps; those of padding are undefined."""
    real = padding_mask(sizes)[..., None]
    outputs = {n: {**found, "output": found["output"] * real} for n, found in outputs.items()}
    return compare_with_first(sizes, outputs)
