"""Learns to reverse sequences of letters, and draws its attention: an anti-diagonal.

    python -m examples.reverse --out out/reverse

No data is needed, and two CPU cores take about two minutes. The model is the smallest with
all parts: an encoder, `BahdanauDecoder`, `EncoderDecoder`, plain `fit`, greedy search.
"""

import argparse
import pathlib
import time

import keras
import matplotlib
import numpy as np

import keras_attention as ka
from examples.common.arguments import positive_integer, seed
from examples.common.fresh import FreshBatches

PAD, START, END = 0, 1, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"
FIRST_LETTER = 3
SHORTEST, LONGEST = 5, 25


def draw_sequences(count, rng):
    """Returns the pairs ((source, target_in), target_out), padded to the longest."""
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    source = rng.integers(FIRST_LETTER, FIRST_LETTER + len(LETTERS), (count, LONGEST))
    source[np.arange(LONGEST) >= lengths[:, None]] = PAD
    steps = np.arange(LONGEST + 1)
    mirrored = np.clip(lengths[:, None] - 1 - steps, 0, None)  # (count, T)
    target_out = np.take_along_axis(source, mirrored, axis=1)
    target_out[steps == lengths[:, None]] = END
    target_out[steps > lengths[:, None]] = PAD
    target_in = np.concatenate([np.full((count, 1), START), target_out[:, :-1]], axis=1)
    target_in[target_out == PAD] = PAD
    return (source, target_in), target_out


def build_model(units=128):
    layers = keras.layers
    vocabulary = FIRST_LETTER + len(LETTERS)
    return ka.models.EncoderDecoder(
        encoder=keras.Sequential(
            [
                layers.Embedding(vocabulary, units, mask_zero=True),
                layers.Bidirectional(
                    layers.GRU(units // 2, return_sequences=True, use_cudnn=False)
                ),
            ]
        ),
        target_embedding=layers.Embedding(vocabulary, units, mask_zero=True),
        decoder=ka.BahdanauDecoder(layers.GRUCell(units), ka.BahdanauAttention(units)),
        head=layers.Dense(vocabulary),
    )


def exact_match(model, pairs):
    """Returns the share of sequences that greedy search reverses without a mistake."""
    (source, _), target_out = pairs
    found = ka.search.greedy(
        model.step, model.begin(source), START, END, max_length=target_out.shape[1]
    )
    tokens = keras.ops.convert_to_numpy(found.tokens)[:, 0]
    written = target_out != PAD
    return float(np.mean(np.all((tokens == target_out) | ~written, axis=1)))


def draw_alignment(model, path, length=15):
    (source, _), _ = draw_sequences(1, np.random.default_rng(3))
    source = source[:, :length]
    found = ka.search.greedy(model.step, model.begin(source), START, END, max_length=length)

    def letters(tokens):
        return [LETTERS[token - FIRST_LETTER] if token >= FIRST_LETTER else "" for token in tokens]

    tokens = keras.ops.convert_to_numpy(found.tokens)[0, 0]
    ka.visualize.plot_alignment(
        found.attention[0, 0], letters(source[0]), letters(tokens), path=path
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="out/reverse", help="folder to write")
    parser.add_argument("--epochs", type=positive_integer, default=5)
    parser.add_argument("--steps", type=positive_integer, default=150, help="batches per epoch")
    parser.add_argument("--batch-size", type=positive_integer, default=128)
    parser.add_argument("--units", type=positive_integer, default=128)
    parser.add_argument("--seed", type=seed, default=1)
    options = parser.parse_args(arguments)

    matplotlib.use("Agg")  # The picture goes to a file; a display is not needed.
    keras.utils.set_random_seed(options.seed)
    model = build_model(options.units)
    steps = options.epochs * options.steps
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps), clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    begun = time.perf_counter()
    batches = FreshBatches(
        options.steps, lambda rng: draw_sequences(options.batch_size, rng), options.seed
    )
    model.fit(batches, epochs=options.epochs)
    print(f"trained in {time.perf_counter() - begun:.0f} s")
    unseen = draw_sequences(1000, np.random.default_rng(options.seed + 1))
    print(f"exact match on 1,000 unseen sequences: {exact_match(model, unseen):.2%}")
    options.out.mkdir(parents=True, exist_ok=True)
    draw_alignment(model, options.out / "alignment.png")
    print(f"drew {options.out / 'alignment.png'}")


if __name__ == "__main__":
    main()
