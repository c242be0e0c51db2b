"""What every public layer makes of nothing: batches, queries and memories of length 0."""

import re

import numpy as np
import pytest
import tensorflow as tf

from comparing import tensors, to_numpy
from table import SIZES, one_per_layer, shaped


def cut(row, sizes):
    """Inputs and masks of these sizes, from the start of the row's."""
    inputs, masks = row.arrays()
    return [
        tensors({n: x[tuple(map(slice, shaped(axes[n], sizes)))] for n, x in arrays.items()})
        for arrays, axes in ((inputs, row.inputs), (masks, row.masks))
    ]


def free(tensor, axes):
    """The spec of a tensor whose batch and lengths are known when it runs only."""
    lengths = [None if isinstance(axis, str) else axis for axis in axes]
    return tf.TensorSpec([None, *lengths], tensor.dtype)


def error_of(call, *arguments):
    """What an error of `call` says, or None."""
    try:
        call(*arguments)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        return str(error)


@pytest.mark.each_value
@pytest.mark.parametrize("row", one_per_layer(), ids=str)
@pytest.mark.parametrize("mode", ["graph", "xla", "eager"])
def test_nothing_gives_no_elements_or_zeros(row, mode):
    """With finite gradients: eagerly, in a graph with unknown shapes, and under XLA."""
    layer = row.new()

    def call(inputs, masks):
        with tf.GradientTape() as tape:
            results = row.call(layer, inputs, masks)
            total = tf.add_n([tf.reduce_sum(result) for result in results])
        found = tape.gradient(total, [variable.value for variable in layer.trainable_variables])
        return results, [tf.convert_to_tensor(x) for x in found if x is not None]

    axes = {**row.inputs, **row.masks}
    signature = [{n: free(x, axes[n]) for n, x in arrays.items()} for arrays in cut(row, SIZES)]
    calls = {
        "eager": call,
        "graph": tf.function(call, input_signature=signature),
        "xla": tf.function(call, jit_compile=True),
    }
    lengths = {axis for axes in row.inputs.values() for axis in axes if isinstance(axis, str)}
    limited = False
    for letter in ["B", *sorted(lengths)]:
        sizes = {**SIZES, letter: 0}
        inputs, masks = cut(row, sizes)
        if "empty" in row.limits and (said := error_of(call, inputs, masks)):
            assert re.search(row.limits["empty"], said)
            limited = True
            continue
        results, gradients = calls[mode](inputs, masks)
        for (name, axes), result in zip(row.outputs.items(), results, strict=True):
            assert tuple(result.shape) == shaped(axes, sizes), letter
            assert np.isfinite(to_numpy(result)).all(), letter
            if letter == row.memory and name in row.empty:
                assert not to_numpy(result).any(), letter
        assert all(np.isfinite(gradient).all() for gradient in gradients), letter
        bare = row.call(layer, inputs, {})
        assert [tuple(x.shape) for x in bare] == [tuple(x.shape) for x in results], letter
    assert limited == ("empty" in row.limits)
