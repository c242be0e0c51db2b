"""The step of both sides: forward alone, or forward and backward."""

import keras
import tensorflow as tf

from benchmarks import tensorflow_steps, worker


def work(decode, variables, words, regions, upstream, options):
    """Returns the work of a decoder, `decode(words, regions)`.

    `variables` are its weights, in whichever form it keeps them, so that their gradients are not
    compared. Those of words and regions are.
    """
    if options["backward"]:
        step = tensorflow_steps.gradient_step(
            decode, variables, [words, regions], upstream, options["jit_compile"]
        )
    else:
        compiled = tf.function(
            lambda words, regions: decode(words, regions),
            jit_compile=options["jit_compile"],
            autograph=False,
        )
        words, regions = tf.constant(words), tf.constant(regions)

        def step():
            return compiled(words, regions), ()

    def outputs():
        states, gradients = step()
        names = ("words' gradient", "regions' gradient")
        return {"states": states, **dict(zip(names, gradients, strict=False))}

    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return worker.Work(step, outputs, {"versions": versions})
