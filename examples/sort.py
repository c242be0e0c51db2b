"""Learns to sort numbers with a pointer network, and draws its pointers: a permutation.

    python -m examples.sort --out out/sort

No data is needed, and two CPU cores take about two minutes. A pointer network returns positions of
its input, so that it needs no vocabulary of numbers. Each step reads the element chosen last, as in
Vinyals et al. 2015 (arXiv:1506.03134). Pointing at a mark before the numbers ends the sequence.
"""

import argparse
import pathlib
import time

import keras
import matplotlib
import numpy as np
from keras import ops

import keras_attention as ka
from examples.common.arguments import positive_integer, seed
from examples.common.fresh import FreshBatches

LARGEST = 99
MARK = 0  # The position that a sequence of pointers starts from and ends with.
MARK_VALUE = -1.0


def draw_numbers(examples, count, rng):
    """Returns the pairs ((numbers, pointers_in), pointers_out) of `count` different numbers."""
    numbers = rng.permuted(np.tile(np.arange(LARGEST + 1), (examples, 1)), axis=1)[:, :count]
    mark = np.full((examples, 1), MARK)
    pointers = np.argsort(numbers, axis=1) + 1  # The mark precedes the numbers.
    numbers = np.concatenate([mark + MARK_VALUE, numbers / LARGEST], axis=1)
    pointers_in = np.concatenate([mark, pointers], axis=1)
    pointers_out = np.concatenate([pointers, mark], axis=1)
    return (numbers.astype("float32"), pointers_in), pointers_out


class Sorter(keras.Model):
    """A pointer network: from numbers (B, S) and pointers (B, T) to probabilities (B, T, S)."""

    def __init__(self, units):
        super().__init__()
        layers = keras.layers
        self.embedding = keras.Sequential([layers.Dense(units, "tanh"), layers.Dense(units)])
        self.encoder = layers.LSTM(units, return_sequences=True, return_state=True, use_cudnn=False)
        self.decoder = ka.BahdanauDecoder(layers.LSTMCell(units), ka.BahdanauAttention(units))
        self.pointer = ka.PointerAttention(units)

    def call(self, inputs):
        numbers, pointers = inputs
        elements, memory, last = self.encode(numbers)
        read = ops.take_along_axis(elements, ops.expand_dims(pointers, 2), axis=1)  # (B, T, D)
        outputs = self.decoder(read, memory, initial_state=last)
        return self.pointer(ops.concatenate([outputs, read], axis=-1), memory)

    def encode(self, numbers):
        """Returns the elements, the memory to point into, and the encoder's last states."""
        elements = self.embedding(ops.expand_dims(numbers, 2))  # (B, S, D)
        encoded, *last = self.encoder(elements)
        return elements, ops.concatenate([encoded, elements], axis=-1), last

    def begin(self, numbers):
        """Returns the state before the first step of a search."""
        elements, memory, last = self.encode(ops.convert_to_tensor(numbers))
        decoding = self.decoder.begin(memory, initial_state=last)
        prepared = self.pointer.prepare(memory)
        return {"elements": elements, "memory": prepared, "decoding": decoding}

    def step(self, pointers, state):
        """Takes one step of a search: pointers (B,) to logits and weights (B, S), next state."""
        pointers = ops.reshape(pointers, (-1, 1, 1))
        read = ops.take_along_axis(state["elements"], pointers, axis=1)[:, 0]  # (B, D)
        output, _, decoding = self.decoder.step(read, state["decoding"])
        query = ops.concatenate([output, read], axis=-1)
        probabilities = self.pointer.step(query, state["memory"])  # (B, S)
        return ops.log(probabilities + 1e-9), probabilities, {**state, "decoding": decoding}


def sort(model, numbers):
    """Returns what greedy search finds: `tokens` (B, 1, S) are the pointers."""
    steps = numbers.shape[1]
    return ka.search.greedy(model.step, model.begin(numbers), MARK, MARK, max_length=steps)


def exact_match(model, pairs):
    """Returns the share of examples that are sorted, and ended, without a mistake."""
    (numbers, _), pointers = pairs
    found = ops.convert_to_numpy(sort(model, numbers).tokens)[:, 0]
    return float(np.mean(np.all(found == pointers, axis=1)))


def draw_pointers(model, path, count):
    (numbers, _), _ = draw_numbers(1, count, np.random.default_rng(3))
    found = sort(model, numbers)
    pointers = ops.convert_to_numpy(found.tokens)[0, 0]
    names = ["end", *(f"{number * LARGEST:.0f}" for number in numbers[0, 1:])]
    pointed_at = [names[pointer] for pointer in pointers]
    ka.visualize.plot_alignment(found.attention[0, 0], names, pointed_at, path=path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="out/sort", help="folder to write")
    parser.add_argument(
        "--numbers", type=positive_integer, default=10, help="how many numbers to sort"
    )
    parser.add_argument("--epochs", type=positive_integer, default=10)
    parser.add_argument("--steps", type=positive_integer, default=200, help="batches per epoch")
    parser.add_argument("--batch-size", type=positive_integer, default=128)
    parser.add_argument("--units", type=positive_integer, default=64)
    parser.add_argument("--seed", type=seed, default=1)
    options = parser.parse_args(arguments)
    if options.numbers > LARGEST + 1:
        said = f"'{options.numbers}'; expected at most {LARGEST + 1}, as all are different"
        parser.error(f"argument --numbers: {said}")

    matplotlib.use("Agg")  # The picture goes to a file; a display is not needed.
    keras.utils.set_random_seed(options.seed)
    model = Sorter(options.units)
    steps = options.epochs * options.steps
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps), clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=True,
    )
    begun = time.perf_counter()
    batches = FreshBatches(
        options.steps,
        lambda rng: draw_numbers(options.batch_size, options.numbers, rng),
        options.seed,
    )
    model.fit(batches, epochs=options.epochs)
    print(f"trained in {time.perf_counter() - begun:.0f} s")
    unseen = draw_numbers(1000, options.numbers, np.random.default_rng(options.seed + 1))
    print(f"exact match on 1,000 unseen examples: {exact_match(model, unseen):.2%}")
    options.out.mkdir(parents=True, exist_ok=True)
    draw_pointers(model, options.out / "pointers.png", options.numbers)
    print(f"drew {options.out / 'pointers.png'}")


if __name__ == "__main__":
    main()
