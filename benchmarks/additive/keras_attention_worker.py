"""This library: BahdanauAttention."""

import keras
import tensorflow as tf

import keras_attention as ka
from benchmarks import tensorflow_steps, worker
from benchmarks.additive import problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    query, memory, upstream, weights = problem.arrays(options)
    layer = ka.BahdanauAttention(options["units"])
    layer.build(query.shape, memory.shape)
    names = ("query_kernel", "key_kernel", "score_vector")
    for name in names:
        getattr(layer.score, name).assign(weights[name])
    step = tensorflow_steps.gradient_step(
        layer,
        [getattr(layer.score, name) for name in names],
        [query, memory],
        upstream,
        options["jit_compile"],
    )
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return worker.Work(step, lambda: problem.named(step()), {"versions": versions})


if __name__ == "__main__":
    worker.serve(setup)
