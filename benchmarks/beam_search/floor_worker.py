"""What no search can do without: the head's product and the best words of it, step by step."""

import numpy as np
import tensorflow as tf

from benchmarks import tensorflow_steps, worker


def setup(options):
    tensorflow_steps.limit_threads(options)
    random = np.random.default_rng(0)
    batch, beam, width = options["batch"], options["beam"], options["width"]
    states = tf.constant(random.standard_normal((batch * beam, width), "float32"))
    kernel = tf.constant(random.standard_normal((width, options["vocabulary"]), "float32"))

    def step():
        for _ in range(options["target_steps"]):
            tf.math.top_k(tf.reshape(states @ kernel, (batch, -1)), beam)

    operations = 2 * batch * beam * width * options["vocabulary"] * options["target_steps"]
    return worker.Work(step, facts={"gflop": round(operations / 1e9, 2)})


if __name__ == "__main__":
    worker.serve(setup)
