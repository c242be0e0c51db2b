"""Learns to classify by a few examples of classes never seen before.

    python -m examples.few_shot

No data is needed, and two CPU cores take about a minute. An episode has a few items of
each of some new classes, with random labels, and a last item whose label is asked for. So the model
does not learn classes but to compare items, as SNAIL does (Mishra et al. 2018, arXiv:1707.03141). A
second model has temporal convolutions and no attention.
"""

import argparse
import time

import keras
import numpy as np

import keras_attention as ka
from examples.common.arguments import positive_integer, seed
from examples.common.fresh import FreshBatches

WIDTH = 8  # of an item
NOISE = 0.2  # Standard deviation inside a class; the centers of classes have 1.


def draw_episodes(count, ways, shots, rng):
    """Returns items with their labels (count, ways * shots + 1, WIDTH + ways), and the last label.

    The label of the last item is hidden: zeros instead of a one-hot vector.
    """
    centers = rng.normal(size=(count, ways, WIDTH))
    shown = rng.permuted(np.tile(np.arange(ways), (count, shots)), axis=1)
    asked = rng.integers(0, ways, (count, 1))
    labels = np.concatenate([shown, asked], axis=1)
    items = np.take_along_axis(centers, labels[:, :, None], axis=1)
    items += NOISE * rng.normal(size=items.shape)
    marks = np.eye(ways)[labels]
    marks[:, -1] = 0
    return np.concatenate([items, marks], axis=2).astype("float32"), asked[:, 0]


def build_model(ways, shots, units, attends=True):
    """SNAIL, from an episode to the logits of the last item's label.

    Without attention a second temporal block, with more weights, replaces both attention blocks.
    """
    length = ways * shots + 1
    x = episode = keras.Input((length, WIDTH + ways))
    if attends:
        x = ka.SnailAttentionBlock(units, units)(x)
        x = ka.TemporalConvBlock(units, length)(x)
        x = ka.SnailAttentionBlock(units, units)(x)
    else:
        x = ka.TemporalConvBlock(units, length)(x)
        x = ka.TemporalConvBlock(units, length)(x)
    return keras.Model(episode, keras.layers.Dense(ways)(x[:, -1]))


def train(model, episodes, epochs):
    steps = epochs * len(episodes)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(episodes, epochs=epochs, verbose=2)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", type=positive_integer, default=5, help="classes per episode")
    parser.add_argument("--shots", type=positive_integer, default=2, help="labeled items per class")
    parser.add_argument("--epochs", type=positive_integer, default=5)
    parser.add_argument("--steps", type=positive_integer, default=200, help="batches per epoch")
    parser.add_argument("--batch-size", type=positive_integer, default=128)
    parser.add_argument("--units", type=positive_integer, default=16)
    parser.add_argument("--seed", type=seed, default=1)
    options = parser.parse_args(arguments)

    sizes = options.ways, options.shots
    unseen = draw_episodes(2000, *sizes, np.random.default_rng(options.seed + 1))
    for attends in (True, False):
        keras.utils.set_random_seed(options.seed)
        model = build_model(*sizes, options.units, attends)
        begun = time.perf_counter()
        episodes = FreshBatches(
            options.steps,
            lambda rng: draw_episodes(options.batch_size, *sizes, rng),
            options.seed,
        )
        train(model, episodes, options.epochs)
        print(f"trained {model.count_params():,} weights in {time.perf_counter() - begun:.0f} s")
        found = model.evaluate(*unseen, verbose=0)[1]
        print(f"{'with' if attends else 'without'} attention: {found:.2%} of 2,000 new episodes")


if __name__ == "__main__":
    main()
