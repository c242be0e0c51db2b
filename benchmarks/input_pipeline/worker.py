"""The input pipeline of an example: alone, and beside its training step.

"pipeline"  the time to the next batch, when nothing else runs
"waiting"   the time to the next batch, when a training step comes after each
"step"      the time of both: what an epoch is made of
"""

import time

import keras
import tensorflow as tf

from benchmarks import tensorflow_steps, worker
from benchmarks.input_pipeline.examples import EXAMPLES

_LONG = 10**6  # Epochs.


def setup(options):
    tensorflow_steps.limit_threads(options)
    batches, model = EXAMPLES[options["example"]]()
    iterator = iter(batches.epochs(0, _LONG))

    @tf.function
    def train(batch):
        return model.train_step(batch)

    def step():
        start = time.perf_counter()
        batch = next(iterator)
        waited = time.perf_counter() - start
        logs = train(batch)
        logs["loss"].numpy()  # what has no value yet is not done
        if options["measure"] == "waiting":
            return worker.Seconds(waited)
        return None

    if options["measure"] == "pipeline":
        return worker.Work(lambda: next(iterator))
    # A step is compiled for each width of a batch, which must not happen while it is timed.
    widths = set()
    while len(widths) < len(batches.widths):
        batch = next(iterator)
        widths.add(batch[1].shape[1])
        train(batch)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    return worker.Work(step, facts={"versions": versions})


if __name__ == "__main__":
    worker.serve(setup)
