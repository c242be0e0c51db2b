"""This library's export, in a process that has TensorFlow, and neither Keras nor this library."""

import importlib.util
import sys

import tensorflow as tf

from benchmarks import tensorflow_steps, worker
from benchmarks.translator import problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    if importlib.util.find_spec("keras") is not None:
        raise RuntimeError("Keras is installed here; this is about a process without it")
    source = tf.constant(problem.batch(options)[0])
    served = tf.saved_model.load(options["folder"])
    signature = served.signatures["serving_default"]
    if "keras_attention" in sys.modules:
        raise RuntimeError("keras_attention was imported; this is about a process without it")

    def translate(keep=served):  # the signature's variables live as long as the model
        return signature(source=source)

    return worker.Work(
        step=lambda: translate()["tokens"].numpy(),
        outputs=translate,
        facts={"versions": {"tensorflow": tf.__version__}},
    )


if __name__ == "__main__":
    worker.serve(setup)
