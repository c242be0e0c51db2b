"""This library: ka.search.beam over an EncoderDecoder, in a `tf.function`."""

import keras
import tensorflow as tf

import keras_attention as ka
from benchmarks import tensorflow_steps, worker
from benchmarks.translator import keras_attention_model, problem


def setup(options):
    tensorflow_steps.limit_threads(options)
    source = tf.constant(problem.batch(options)[0])
    weights = problem.for_search(problem.weights(options))
    model = keras_attention_model.build(options, weights)

    @tf.function(jit_compile=options["jit_compile"])
    def search(source):
        result = ka.search.beam(
            model.step,
            model.begin(source),
            problem.START,
            problem.END,
            max_length=options["target_steps"],
            beam_width=options["beam"],
            n_best=1,
        )
        return result.tokens[:, 0], result.scores[:, 0]

    def outputs():
        tokens, scores = search(source)
        return {"tokens": tokens, "scores": scores}

    return worker.Work(
        step=lambda: search(source)[0].numpy(),
        outputs=outputs,
        facts={"versions": {"keras": keras.__version__, "tensorflow": tf.__version__}},
    )


if __name__ == "__main__":
    worker.serve(setup)
