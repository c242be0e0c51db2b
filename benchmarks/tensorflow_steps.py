"""What TensorFlow's workers share: threads, and a step forward and backward."""

import tensorflow as tf


def limit_threads(options: dict):
    """Gives TensorFlow the benchmark's threads; before anything is computed."""
    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])


def gradient_step(function, weights, inputs, upstream, jit_compile):
    """Returns a step: the output of `function(*inputs)` and the gradients of sum(output upstream).

    The gradients are those of the inputs and then those of the weights. The step returns eager
    tensors, which on a processor are done when it returns.
    """
    inputs = [tf.constant(each) for each in inputs]
    upstream = tf.constant(upstream)
    variables = [
        weight if isinstance(weight, tf.Variable) else weight.value  # that of a Keras variable
        for weight in weights
    ]

    @tf.function(jit_compile=jit_compile, autograph=False)
    def compiled(inputs, upstream):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = function(*inputs)
            loss = tf.reduce_sum(output * upstream)
        return output, tape.gradient(loss, [*inputs, *variables])

    return lambda: compiled(inputs, upstream)
