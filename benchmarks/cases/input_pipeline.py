"""Whether the training of the examples waits for its input pipeline."""

import time

import numpy as np

from benchmarks.bars import Bar, speedup
from benchmarks.case import Case, Contender, Timing, Work


def translation():
    """Returns the batches and the compiled model of the translation example, on names of emoji."""
    import atexit
    import shutil
    import tempfile
    from pathlib import Path

    from examples.translation import corpora, data, model, pipeline, shards, train
    from examples.translation.config import Config
    from examples.translation.prepare import tokenizers
    from examples.translation.run import Run

    config = Config(data="emoji", fingerprint="")
    splits = data.load(*corpora.read(config))
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)  # the batches read from it
    source, target = tokenizers(Run(folder), config, splits)
    limit = config.max_length
    files = shards.save(folder, "", splits.train, splits.size, source, target, limit, skip=False)
    batches = pipeline.Batches(files, config.batch_tokens, config.seed)
    network = model.build(config, source.size, target.size)
    train.compile_model(network, config, batches.steps)
    return batches, network


def captioning():
    """Returns those of the captioning example, on random pictures, in memory."""
    from examples.captioning import features, model, pipeline, train
    from examples.captioning.config import Config

    config = Config(data="random", fingerprint="", images="")
    random = np.random.default_rng(0)
    shape = (features.SHARD, config.size, config.size, 3)
    pictures = features.Features([random.integers(0, 256, shape).astype("uint8") for _ in range(8)])
    vocabulary, captions = 60, 4 * len(pictures)
    ids = random.integers(4, vocabulary, (captions, 14)).astype("int32")
    ids[np.arange(14) >= random.integers(6, 14, (captions, 1))] = 0
    numbers = np.repeat(np.arange(len(pictures)), 4)
    shift = config.size // train.SHIFT
    batches = pipeline.Batches(pictures, numbers, ids, config.batch_size, shift)
    network = model.build(config, vocabulary, pictures.shape)
    train.compile_model(network, config, batches.steps)
    return batches, network


EXAMPLES = {"translation": translation, "captioning": captioning}


def _work(options):
    """The time of a step with its batch; of waiting for this batch; of batches without steps."""
    import tensorflow as tf

    batches, model = EXAMPLES[options["example"]]()
    iterator = iter(batches.epochs(0, 10**6))
    if options.get("alone"):
        return Work(lambda: next(iterator))
    train = tf.function(model.train_step)
    # A step is compiled for each shape of a batch, which must not happen while it is timed.
    shapes = set()
    while len(shapes) < len(batches.shapes):
        batch = next(iterator)
        (source, _), target = batch
        shapes.add((*source.shape[:2], *target.shape))
        train(batch)

    def step():
        start = time.perf_counter()
        batch = next(iterator)
        waited = time.perf_counter() - start
        train(batch)["loss"].numpy()  # Only a value that was read is done.
        return Timing(waited) if options.get("waiting") else None

    return Work(step)


def _bar(example):
    what = f"{example}: share of a training step that waits for data"
    return Bar(what, speedup("waiting", {"example": example}), at_most=0.02)


CASE = Case(
    title="Input pipelines of the examples",
    points=[{"example": example} for example in EXAMPLES],
    contenders=[
        Contender("training step, with its batch", "keras_attention", _work),
        Contender("of which waiting for the batch", "waiting", _work, options={"waiting": True}),
        Contender("the pipeline alone", "pipeline", _work, options={"alone": True}),
    ],
    unit=("batches", lambda sizes: 1),
    bars=[_bar(example) for example in EXAMPLES],
)
