"""The matrix products of the step and nothing else, with NumPy's BLAS or TensorFlow's."""

import numpy as np
import tensorflow as tf

from benchmarks import worker
from benchmarks.translator import problem


def setup(options):
    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    multiply = {"numpy": _numpy_product, "tensorflow": _tensorflow_product}[options["library"]]
    random = np.random.default_rng(0)

    def matrix(*shape):
        return random.standard_normal(shape, "float32")

    products, operations = [], 0
    for rows, inner, columns, steps, count in problem.gemms(options):
        inputs, weight, results = (
            matrix(*shape) for shape in ((rows, inner), (inner, columns), (rows, columns))
        )
        all_inputs, all_results = matrix(rows * steps, inner), matrix(rows * steps, columns)
        each = [multiply(inputs, weight), multiply(results, weight.T)]  # forward, and its gradient
        products += (each * steps + [multiply(all_inputs.T, all_results)]) * count
        operations += 3 * 2 * rows * inner * columns * steps * count

    def step():
        for product in products:
            product()

    return worker.Work(step, facts={"gflop": round(operations / 1e9, 2)})


def _numpy_product(a, b):
    result = np.empty((a.shape[0], b.shape[1]), "float32")
    return lambda: np.matmul(a, b, out=result)


def _tensorflow_product(a, b):
    # Transposed factors are transposed by the product, as in a real gradient.
    turned_a, turned_b = not a.flags.c_contiguous, not b.flags.c_contiguous
    a, b = tf.constant(a.T if turned_a else a), tf.constant(b.T if turned_b else b)
    return lambda: tf.matmul(a, b, transpose_a=turned_a, transpose_b=turned_b)


if __name__ == "__main__":
    worker.serve(setup)
