"""keras-self-attention: its ScaledDotProductAttention, between projections that it does not have.

It has one head. So that it does the same work, the heads are entries of the batch.
"""

import importlib.metadata

import keras
import tensorflow as tf
from keras_self_attention import ScaledDotProductAttention

from benchmarks import tensorflow_steps, worker
from benchmarks.self_attention import problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    sequence, upstream, kernels = problem.arrays(options)
    heads, width = options["heads"], options["width"]
    batch, length = options["batch"], options["length"]
    variables = [tf.Variable(kernels[name]) for name in problem.KERNELS]
    attention = ScaledDotProductAttention(history_only=options["causal"])

    def split(sequence, kernel):
        projected = tf.reshape(sequence @ kernel, (batch, length, heads, width))
        return tf.reshape(tf.transpose(projected, (0, 2, 1, 3)), (batch * heads, length, width))

    def attend(sequence):
        *projections, output = variables
        context = attention([split(sequence, kernel) for kernel in projections])
        context = tf.reshape(context, (batch, heads, length, width))
        context = tf.reshape(tf.transpose(context, (0, 2, 1, 3)), (batch, length, heads * width))
        return context @ output

    step = tensorflow_steps.gradient_step(
        attend, variables, [sequence], upstream, options["jit_compile"]
    )
    versions = {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "keras-self-attention": importlib.metadata.version("keras-self-attention"),
    }
    return worker.Work(step, lambda: problem.named(step()), {"versions": versions})


if __name__ == "__main__":
    worker.serve(setup)
