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


def largest_tensor(graph):
    """The size of the largest tensor in a TensorFlow graph and its loops, of those it knows."""
    graphs, sizes = [graph], []
    while graphs:
        graph = graphs.pop()
        for operation in graph.get_operations():
            sizes += [x.shape.num_elements() for x in operation.outputs if x.shape.rank]
            if operation.type in ("While", "StatelessWhile"):
                names = [operation.get_attr(part).name for part in ("body", "cond")]
                graphs += [graph._get_function(name).graph for name in names]
    return max(size for size in sizes if size)
