"""Keras: AdditiveAttention, which has no projections, with Dense layers before it."""

import keras
import tensorflow as tf

from benchmarks import tensorflow_steps, worker
from benchmarks.additive import problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    query, memory, upstream, weights = problem.arrays(options)
    units = options["units"]
    of_query, of_key = (keras.layers.Dense(units, use_bias=False) for _ in range(2))
    attention = keras.layers.AdditiveAttention()
    of_query.build(query.shape)
    of_key.build(memory.shape)
    attention.build([query.shape, memory.shape, memory.shape])
    variables = [of_query.kernel, of_key.kernel, attention.scale]
    for variable, name in zip(
        variables, ("query_kernel", "key_kernel", "score_vector"), strict=True
    ):
        variable.assign(weights[name])

    def attend(query, memory):
        return attention([of_query(query), memory, of_key(memory)])

    step = tensorflow_steps.gradient_step(
        attend, variables, [query, memory], upstream, options["jit_compile"]
    )
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return worker.Work(step, lambda: problem.named(step()), {"versions": versions})


if __name__ == "__main__":
    worker.serve(setup)
