"""Regularizers and constraints of kernels, in every public layer that initializes kernels."""

import inspect

import keras
import numpy as np
import pytest

import keras_attention as ka
from comparing import numbers, tensors, to_numpy
from marks import eagerly
from table import TABLE, public_layers
from table.row import UNITS

LAYERS = {
    layer.__name__: layer
    for layer in public_layers()
    if "kernel_initializer" in inspect.signature(layer.__init__).parameters
}
ROWS = {name: next(row for row in TABLE if layer in row.holds) for name, layer in LAYERS.items()}
# Parts belong to another layer.
OWNERS = {
    "Additive": lambda **k: ka.Attention(ka.scores.Additive(UNITS, **k)),
    "General": lambda **k: ka.Attention(ka.scores.General(**k)),
    "Location": lambda **k: ka.Attention(ka.scores.Location(max_length=9, **k)),
    "LocalPredictive": lambda **k: ka.Attention(
        "dot", ka.alignments.LocalPredictive(UNITS, window=3, **k)
    ),
    "NTMCell": lambda **k: keras.layers.RNN(
        ka.NTMCell(keras.layers.LSTMCell(5), memory_size=7, memory_dim=3, **k),
        return_sequences=True,
        return_state=True,
    ),
}
EVERY_LAYER = pytest.mark.parametrize("name", sorted(LAYERS))


def functional(name, **options):
    row = ROWS[name]
    return row.functional(OWNERS.get(name, row.make)(**options))


def kernels_of(name):
    """Index and name of the variables that `kernel_initializer` initializes."""
    model = functional(name, kernel_initializer=keras.initializers.Constant(0.37))
    return indices(model, lambda v: np.allclose(to_numpy(v), 0.37))


def indices(model, chosen):
    return [(i, v.name) for i, v in enumerate(model.variables) if chosen(v)]


@EVERY_LAYER
def test_every_kernel_adds_to_the_losses_of_the_model_also_of_a_loaded_one(name, tmp_path):
    model = functional(name, kernel_regularizer=keras.regularizers.L2(0.5))
    regularized = [v for v in model.variables if v.regularizer]
    assert indices(model, lambda v: v.regularizer) == kernels_of(name) != []
    expected = sum(0.5 * np.sum(to_numpy(v) ** 2) for v in regularized)
    assert sum(numbers(model.losses)) == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert sum(numbers(loaded.losses)) == pytest.approx(expected, rel=1e-5)


@eagerly
@EVERY_LAYER
def test_kernels_stay_within_their_constraint(name):
    model, row = functional(name, kernel_constraint="non_neg"), ROWS[name]
    constrained = [v for v in model.variables if v.constraint]
    assert indices(model, lambda v: v.constraint) == kernels_of(name) != []
    for v in constrained:
        v.assign(-np.ones(v.shape))
    model = keras.Model(model.inputs, model.outputs[0])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    inputs, masks = row.arrays()
    feed = {**tensors(inputs), **tensors(masks)}
    model.train_on_batch(feed, np.zeros_like(to_numpy(model(feed))))
    learned = [v for v in constrained if v.name not in row.unlearned]
    assert all((to_numpy(v) >= 0).all() for v in learned)
