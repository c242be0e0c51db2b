"""Files saved by 0.1.0 load as long as the changelog promises it, and give the same numbers."""

import pathlib

import keras
import numpy as np
import pytest

from comparing import assert_close, numbers, tensors
from table import TABLE, public_layers

SAVED = pathlib.Path(__file__).parent / "fixtures" / "saved"
ROWS = {row.name: row for row in TABLE}
NAMES = sorted(path.name.removesuffix(".keras") for path in SAVED.glob("*.keras"))
WITH_WEIGHTS = sorted(path.name.removesuffix(".weights.h5") for path in SAVED.glob("*.weights.h5"))


def saved(row):
    """The model's inputs and the outputs that it had when it was saved."""
    with np.load(SAVED / f"{row.name}.npz") as arrays:
        feed = {name: arrays[name] for name in (*row.inputs, *row.masks)}
        return tensors(feed), [arrays[f"output_{name}"] for name in row.outputs]


def test_the_files_are_of_public_layers_of_every_family():
    assert {layer for name in NAMES for layer in ROWS[name].holds} <= public_layers()
    families = {ROWS[name].make.__module__ for name in NAMES}
    assert {ROWS[name].make.__module__ for name in WITH_WEIGHTS} == families


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_loads(name):
    feed, outputs = saved(ROWS[name])
    model = keras.saving.load_model(SAVED / f"{name}.keras")
    assert_close(numbers(model(feed)), outputs, 1e-6)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_saved_weights_load(name):
    row = ROWS[name]
    feed, outputs = saved(row)
    model = row.functional(row.make())
    model.load_weights(SAVED / f"{name}.weights.h5")
    assert_close(numbers(model(feed)), outputs, 1e-6)
