"""TensorFlow Addons, in a step compiled by `tf.function`.

Its tutorials hand the head to the decoder as `output_layer`, which applies it step by step. Applied
to all steps at once, after the loop, it is faster; both are measured.
"""

import tensorflow as tf
import tensorflow_addons as tfa

from benchmarks import tensorflow_steps, worker
from benchmarks.translator import problem, tfa_model


def setup(options):
    tensorflow_steps.limit_threads(options)
    source, target_in, target_out = map(tf.constant, problem.batch(options))
    model = tfa_model.build(options, problem.weights(options), options["head_in_loop"])
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=options["jit_compile"])
    def step(source, target_in, target_out):
        with tf.GradientTape() as tape:
            loss = cross_entropy(target_out, model((source, target_in), training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def outputs():
        start_at_context = options["decoder"] == "bahdanau"
        logits = model((source, target_in), start_at_context=start_at_context)
        return {"loss": cross_entropy(target_out, logits), "logits": logits[0]}

    return worker.Work(
        step=lambda: step(source, target_in, target_out).numpy(),
        outputs=outputs,
        facts={
            "versions": {"tensorflow": tf.__version__, "tensorflow-addons": tfa.__version__},
            "weights": sum(int(tf.size(v)) for v in model.trainable_variables),
        },
    )


if __name__ == "__main__":
    worker.serve(setup)
