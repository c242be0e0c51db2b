"""Learns to copy sequences of bits through a memory, and draws where it writes and reads.

    python -m examples.copy_task --out out/copy-task

No data is needed, and one CPU core takes about a minute. The task is the first of Graves et al.
2014 (arXiv:1410.5401, section 4.1): the machine reads random vectors, then a mark, and then repeats
the vectors. It is trained on sequences of 1 to 10 vectors and copies longer ones too. The picture
shows its memory while it copies 20.
"""

import argparse
import pathlib
import time

import keras
import matplotlib
import numpy as np
from keras import ops
from matplotlib import pyplot as plt

import keras_attention as ka
from examples.common.arguments import positive_integer, positive_number, seed
from examples.common.fresh import FreshBatches

BITS = 8
LONGEST, LONGER = 10, 20  # In training, and for the test of what was learned.


def draw_sequences(count, shortest, longest, rng, bits=BITS):
    """Returns inputs (count, T, bits + 1), answers (count, T, bits) and which steps answer.

    The last channel of the inputs is the mark.
    """
    steps = np.arange(2 * longest + 1)
    lengths = rng.integers(shortest, longest + 1, (count, 1))
    vectors = rng.integers(0, 2, (count, longest, bits))
    inputs = np.zeros((count, len(steps), bits + 1), "float32")
    inputs[:, :longest, :bits] = vectors
    inputs[steps >= lengths] = 0
    inputs[..., -1] = steps == lengths
    answering = (steps > lengths) & (steps <= 2 * lengths)
    copied = np.clip(steps - lengths - 1, 0, longest - 1)
    answers = np.take_along_axis(vectors, copied[..., None], axis=1) * answering[..., None]
    return inputs, answers.astype("float32"), answering.astype("float32")


def build_model(units, memory_size, memory_dim):
    # A recurrent controller can distinguish a vector of zeros from the end of the input.
    cell = ka.NTMCell(keras.layers.LSTMCell(units), memory_size, memory_dim)
    return keras.Sequential(
        [
            keras.Input((None, BITS + 1)),
            keras.layers.RNN(cell, return_sequences=True, name="machine"),
            keras.layers.Dense(BITS, name="bits"),
        ]
    )


def wrong_bits(model, length, rng, count=500):
    """Returns the share of bits that are wrong in copies of unseen sequences of this length."""
    inputs, answers, answering = draw_sequences(count, length, length, rng)
    found = ops.convert_to_numpy(model(inputs)) > 0
    return float(np.mean((found != answers)[answering > 0]))


def run_by_steps(model, inputs):
    """Returns outputs (T, BITS), write and read weights (T, N) of a sequence (T, BITS + 1)."""
    cell, readout = model.get_layer("machine").cell, model.get_layer("bits")
    states, steps = cell.get_initial_state(batch_size=1), []
    for step in inputs:
        output, states = cell(ops.convert_to_tensor(step[None]), states)
        state = cell.unpack(states)
        bits = ops.sigmoid(readout(output))[0]
        steps.append([bits, state.write_weights[0, 0], state.read_weights[0, 0]])
    return [
        np.stack([ops.convert_to_numpy(x) for x in parts]) for parts in zip(*steps, strict=True)
    ]


def draw_addressing(model, path, length, rng):
    """Draws, as the paper's figure 6 does, one copy: time to the right, white where it is 1."""
    inputs, _, _ = draw_sequences(1, length, length, rng)
    outputs, written, read = run_by_steps(model, inputs[0])
    most = np.maximum(written.max(axis=0), read.max(axis=0))
    used = np.flatnonzero(most > 0.1 * most.max())
    maps = {
        "inputs": inputs[0],
        "outputs": outputs,
        "write weights": written[:, used],
        "read weights": read[:, used],
    }
    figure, axes = plt.subplots(
        2, 2, figsize=(9, 6), height_ratios=[BITS + 1, len(used)], constrained_layout=True
    )
    for ax, (title, values) in zip(axes.flat, maps.items(), strict=True):
        ax.imshow(values.T, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        ax.set_title(title)
        ax.set_yticks([])
    for ax in axes[1]:
        ax.set_xlabel("step")
    axes[1, 0].set_ylabel("location")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="out/copy-task", help="folder to write")
    parser.add_argument("--epochs", type=positive_integer, default=6)
    parser.add_argument("--steps", type=positive_integer, default=250, help="batches per epoch")
    parser.add_argument("--batch-size", type=positive_integer, default=32)
    parser.add_argument(
        "--units", type=positive_integer, default=100, help="width of the controller"
    )
    parser.add_argument("--memory-size", type=positive_integer, default=32)
    parser.add_argument("--memory-dim", type=positive_integer, default=20)
    parser.add_argument("--learning-rate", type=positive_number, default=3e-3)
    parser.add_argument("--seed", type=seed, default=1)
    options = parser.parse_args(arguments)

    matplotlib.use("Agg")  # The picture goes to a file; a display is not needed.
    keras.utils.set_random_seed(options.seed)
    model = build_model(options.units, options.memory_size, options.memory_dim)
    schedule = keras.optimizers.schedules.CosineDecay(
        options.learning_rate, options.epochs * options.steps
    )
    model.compile(
        keras.optimizers.Adam(schedule, global_clipnorm=1.0),
        keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=True,
    )
    begun = time.perf_counter()
    batches = FreshBatches(
        options.steps,
        lambda rng: draw_sequences(options.batch_size, 1, LONGEST, rng),
        options.seed,
    )
    model.fit(batches, epochs=options.epochs)
    print(f"trained in {time.perf_counter() - begun:.0f} s")
    for length in (LONGEST, LONGER):
        rng = np.random.default_rng(options.seed + length)
        print(f"wrong bits in copies of {length} vectors: {wrong_bits(model, length, rng):.2%}")
    options.out.mkdir(parents=True, exist_ok=True)
    draw_addressing(model, options.out / "addressing.png", LONGER, np.random.default_rng(3))
    print(f"drew {options.out / 'addressing.png'}")


if __name__ == "__main__":
    main()
