"""What the examples share in training, on a small network: stopping anywhere and going on."""

import contextlib
import resource

import keras
import numpy as np
import pytest

from examples.common.errors import UserError
from examples.common.run import RunFolder


class Run(RunFolder):
    names = ("config.json", "model.weights.h5", "checkpoint.npz")
    score = "bleu"


@contextlib.contextmanager
def files_of_at_most(size):
    """To write beyond fails, as on a full disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def network():
    layers = [keras.Input((3,)), keras.layers.Dense(97), keras.layers.Dropout(0.5)]
    return keras.Sequential([*layers, keras.layers.Dense(1)])


# ---------------------------------------------------------------- full disks


@pytest.mark.parametrize("size", [0, 1, 2047, 4096, 8192])
def test_weights_on_a_full_disk(tmp_path, size):
    run, model, other = Run(tmp_path), network(), network()
    run.save_weights(model)
    before = run.weights.read_bytes()
    with files_of_at_most(size), pytest.raises(UserError, match="cannot be written"):
        run.save_weights(other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        run.weights.name: before
    }
    other.load_weights(run.weights)
    for mine, theirs in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
