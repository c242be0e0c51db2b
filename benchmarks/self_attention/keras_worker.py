"""Keras: MultiHeadAttention."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks import tensorflow_steps, worker
from benchmarks.self_attention import problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    sequence, upstream, kernels = problem.arrays(options)
    layer = keras.layers.MultiHeadAttention(options["heads"], options["width"], use_bias=False)
    layer.build(sequence.shape, sequence.shape)
    variables = [getattr(layer, f"{name}_dense").kernel for name in ("query", "key", "value")] + [
        layer.output_dense.kernel
    ]
    for name, variable in zip(problem.KERNELS, variables, strict=True):
        variable.assign(np.reshape(kernels[name], variable.shape))
    step = tensorflow_steps.gradient_step(
        lambda sequence: layer(sequence, sequence, use_causal_mask=options["causal"]),
        variables,
        [sequence],
        upstream,
        options["jit_compile"],
    )
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return worker.Work(step, lambda: problem.named(step()), {"versions": versions})


if __name__ == "__main__":
    worker.serve(setup)
