"""Comparing tensors with numbers."""

import keras
import numpy as np


def to_numpy(tensor, dtype="float64"):
    # Cast by NumPy: JAX has no float64 unless told so.
    return keras.ops.convert_to_numpy(tensor).astype(dtype)


def numbers(results):
    """Arrays of any nest of tensors, flat."""
    return [to_numpy(result) for result in keras.tree.flatten(results)]


def tensors(arrays, dtype="float32"):
    """Tensors of a dict of arrays: floats in the given dtype, everything else as it is."""
    return {
        name: keras.ops.convert_to_tensor(array, dtype if array.dtype.kind == "f" else array.dtype)
        for name, array in arrays.items()
    }


def assert_close(results, expected, atol=1e-5):
    """Compares two sequences of arrays, part by part."""
    for i, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        np.testing.assert_allclose(result, wanted, atol=atol, rtol=atol, err_msg=f"part {i}")
