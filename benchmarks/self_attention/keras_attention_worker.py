"""This library: SelfAttention, without asking for the weights."""

import keras
import tensorflow as tf

import keras_attention as ka
from benchmarks import tensorflow_steps, worker
from benchmarks.self_attention import problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    sequence, upstream, kernels = problem.arrays(options)
    layer = ka.SelfAttention(options["heads"], options["width"], use_bias=False)
    layer.build(sequence.shape)
    variables = [getattr(layer, f"{name}_kernel") for name in problem.KERNELS]
    for name, variable in zip(problem.KERNELS, variables, strict=True):
        variable.assign(kernels[name])
    step = tensorflow_steps.gradient_step(
        lambda sequence: layer(sequence, use_causal_mask=options["causal"]),
        variables,
        [sequence],
        upstream,
        options["jit_compile"],
    )
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return worker.Work(step, lambda: problem.named(step()), {"versions": versions})


if __name__ == "__main__":
    worker.serve(setup)
