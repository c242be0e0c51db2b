"""The attention that all contenders compute, with the gradients of all that goes in.

    context = softmax(v^T tanh(query W + memory U)) memory

Query and memory are `units` wide and `length` long. The weights are loaded by everyone; the loss is
the sum of the context times a fixed draw.
"""

import numpy as np


def arrays(sizes):
    """Returns query, memory, the draw, and the weights by name, float32."""
    random = np.random.default_rng(0)
    units = sizes["units"]

    def draw(*shape):
        return random.standard_normal(shape, "float32")

    query, memory, upstream = (draw(sizes["batch"], sizes["length"], units) for _ in range(3))
    weights = {
        "query_kernel": draw(units, units) * units**-0.5,
        "key_kernel": draw(units, units) * units**-0.5,
        "score_vector": draw(units) * units**-0.5,
    }
    return query, memory, upstream, weights


def named(results):
    """Returns output and gradients by name, in the order of `tensorflow_steps`."""
    output, gradients = results
    names = ("query gradient", "memory gradient", "W gradient", "U gradient", "v gradient")
    return {"context": output, **dict(zip(names, gradients, strict=True))}
