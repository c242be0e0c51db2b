"""The self-attention that all contenders compute, with the gradients of all that goes in.

    head_i = softmax(x Q_i (x K_i)^T / sqrt(width)) x V_i;  output = [head_1; ...; head_h] O

without biases. The kernels, (heads * width, heads * width) with the heads side by side, are loaded
by everyone; the loss is the sum of the output times a fixed draw.
"""

import numpy as np

KERNELS = ("query", "key", "value", "output")


def arrays(sizes):
    """Returns the sequence, the draw, and the kernels by name, float32."""
    random = np.random.default_rng(0)
    width = sizes["heads"] * sizes["width"]

    def draw(*shape):
        return random.standard_normal(shape, "float32")

    sequence, upstream = (draw(sizes["batch"], sizes["length"], width) for _ in range(2))
    return sequence, upstream, {name: draw(width, width) * width**-0.5 for name in KERNELS}


def named(results):
    """Returns output and gradients by name, in the order of `tensorflow_steps`."""
    output, gradients = results
    square = (output.shape[-1], output.shape[-1])
    gradients = [np.reshape(each, square) for each in gradients[1:]]
    names = [f"{name} kernel's gradient" for name in KERNELS]
    return {"output": output, **dict(zip(names, gradients, strict=True))}
