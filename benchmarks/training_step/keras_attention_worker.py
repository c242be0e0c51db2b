"""This library: EncoderDecoder, trained by the function that `fit` calls."""

import keras
import numpy as np
import tensorflow as tf

import keras_attention as ka
from benchmarks import tensorflow_steps, worker
from benchmarks.translator import keras_attention_model, problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    source, target_in, target_out = problem.batch(options)
    model = keras_attention_model.build(options, problem.weights(options))
    model.compile("adam", ka.losses.LinearCrossentropy(), jit_compile=options["jit_compile"])
    example = ((source, target_in), target_out)
    batches = iter(tf.data.Dataset.from_tensors(example).repeat().prefetch(2))
    model.make_train_function()

    def outputs():
        logits = model((source, target_in))
        loss = model.compute_loss(y=target_out, y_pred=logits)
        return {"loss": loss, "logits": logits[0]}

    return worker.Work(
        step=lambda: float(model.train_function(batches)["loss"]),
        outputs=outputs,
        facts={
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
            "weights": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
        },
    )


if __name__ == "__main__":
    worker.serve(setup)
