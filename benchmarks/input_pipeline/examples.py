"""The training data and models of the examples, as their `train` makes them."""

import numpy as np

_LANGUAGE = "fr"


def translation():
    """Returns the batches and the compiled model of the translation example, on names of emoji."""
    from examples.translation import data, model, pipeline, train
    from examples.translation.config import Config
    from examples.translation.tokenizer import Tokenizer, learn_vocabulary

    pairs = data.emoji_pairs(_LANGUAGE)
    config = Config(data="emoji", fingerprint="")
    source, target = (
        Tokenizer(
            learn_vocabulary(
                [getattr(pair, side) for pair in pairs],
                config.vocabulary_size,
                config.folds(side),
            ),
            config.folds(side),
        )
        for side in ("source", "target")
    )
    batches = pipeline.Batches(
        pipeline.encode(pairs, source, target), config.batch_size, seed=config.seed
    )
    network = model.build(config, len(source.vocabulary), len(target.vocabulary))
    train.compile_model(network, config, batches.steps)
    return batches, network


def captioning():
    """Returns the batches and the compiled model of the captioning example, on random pictures.

    The pictures are in memory: those of the example are mapped files, which a system with room for
    them keeps there too.
    """
    from examples.captioning import features, model, pipeline, train
    from examples.captioning.config import Config

    config = Config(data="random", fingerprint="", images="")
    random = np.random.default_rng(0)
    shape = (features.SHARD, config.size, config.size, 3)
    pictures = features.Features([random.integers(0, 256, shape).astype("uint8") for _ in range(8)])
    vocabulary, captions = 60, 4 * len(pictures)
    numbers = np.repeat(np.arange(len(pictures)), 4)
    ids = np.zeros((captions, 14), "int32")
    for row, length in zip(ids, random.integers(6, 14, captions), strict=True):
        row[:length] = random.integers(4, vocabulary, length)
    batches = pipeline.Batches(pictures, numbers, ids, config.batch_size, augment=True)
    network = model.build(config, vocabulary)
    train.compile_model(network, config, batches.steps)
    return batches, network


EXAMPLES = {"translation": translation, "captioning": captioning}
