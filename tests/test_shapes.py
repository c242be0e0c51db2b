"""Shapes of padded batches: the least padding, by trying all chains of shapes."""

import itertools

import numpy as np
import pytest

from examples.common.shapes import least_padding


def histogram(lengths):
    """How often each pair of lengths occurs."""
    counts = np.zeros(lengths.max(axis=0) + 1, "int64")
    np.add.at(counts, tuple(lengths.T), 1)
    return counts


def tokens(lengths, shapes):
    """What the shapes compute if each pair of lengths goes to the first that holds it."""
    holds = (lengths[:, None] <= shapes).all(axis=-1)
    assert holds.any(axis=1).all()
    return shapes[holds.argmax(axis=1)].sum()


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_padding_is_least(limit, seed):
    lengths = np.random.default_rng(seed).integers(1, 6, (40, 2))
    shapes = least_padding(histogram(lengths), limit)
    assert len(shapes) <= limit
    assert (np.diff(shapes, axis=0) >= 0).all()
    largest = lengths.max(axis=0)
    choices = list(itertools.product(range(1, largest[0] + 1), range(1, largest[1] + 1)))
    best = min(
        tokens(lengths, np.array([*chain, largest]))
        for chain in itertools.combinations(sorted(choices), limit - 1)
        if (np.diff([*chain, largest], axis=0) >= 0).all()
    )
    assert tokens(lengths, shapes) == best


def test_one_side_may_have_no_length():
    shapes = least_padding(histogram(np.array([[0, 3], [0, 7], [0, 3]])), 5)
    assert shapes.tolist() == [[0, 3], [0, 7]]


def test_long_sequences_get_widths_on_a_grid():
    lengths = np.random.default_rng(1).integers(1, 500, (300, 2))
    shapes = least_padding(histogram(lengths), 4)
    assert (shapes % 8 == 0).all()
    assert (shapes[-1] >= lengths.max(axis=0)).all()
    assert (shapes[-1] < lengths.max(axis=0) + 8).all()
