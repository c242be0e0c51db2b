"""The usual implementation: the state tiled over the regions and concatenated with them.

A Dense layer of the two, tanh, a Dense layer to one score a region, softmax, the weighted sum; in a
Python loop over the words, or as a cell of `keras.layers.RNN`. It has no biases, as the paper's
score has none, so that it is the same function.
"""

import keras
import numpy as np
from keras import ops

from benchmarks import tensorflow_steps, worker
from benchmarks.spatial_decoder import problem, steps


class Cell(keras.layers.Layer):
    """Attention before an LSTM cell. The regions are set before the loop."""

    def __init__(self, units):
        super().__init__()
        self.state_size = [units, units]
        self.output_size = units
        self.hidden = keras.layers.Dense(units, activation="tanh", use_bias=False)
        self.score = keras.layers.Dense(1, use_bias=False)
        self.lstm = keras.layers.LSTMCell(units)
        self.regions = None

    def call(self, inputs, states, training=None):
        regions = self.regions
        state = ops.repeat(states[0][:, None], regions.shape[1], axis=1)  # (B, L, units)
        hidden = self.hidden(ops.concatenate([regions, state], axis=-1))
        weights = ops.softmax(self.score(hidden), axis=1)  # (B, L, 1)
        context = ops.sum(weights * regions, axis=1)  # (B, D)
        return self.lstm(ops.concatenate([inputs, context], axis=-1), states)

    def fill(self, sizes, weights):
        """Builds the layers, and gives them the benchmark's weights."""
        both = sizes["region_width"] + sizes["units"]
        self.hidden.build((None, None, both))
        self.score.build((None, None, sizes["units"]))
        self.lstm.build((None, sizes["word_width"] + sizes["region_width"]))
        self.built = True
        kernels = [weights["key_kernel"], weights["query_kernel"]]
        self.hidden.kernel.assign(np.concatenate(kernels))
        self.score.kernel.assign(weights["score_vector"][:, None])
        self.lstm.set_weights([weights[name] for name in ("kernel", "recurrent", "bias")])


def setup(options):
    tensorflow_steps.limit_threads(options)
    words, regions, upstream, weights = problem.arrays(options)
    cell = Cell(options["units"])
    cell.fill(options, weights)
    layer = keras.layers.RNN(cell, return_sequences=True)

    def in_a_layer(words, regions):
        cell.regions = regions
        return layer(words)

    def in_python(words, regions):
        cell.regions = regions
        states = [ops.zeros((words.shape[0], options["units"])) for _ in range(2)]
        outputs = []
        for step in range(words.shape[1]):
            output, states = cell(words[:, step], states)
            outputs.append(output)
        return ops.stack(outputs, axis=1)

    decode = {"python": in_python, "rnn": in_a_layer}[options["loop"]]
    return steps.work(decode, cell.trainable_weights, words, regions, upstream, options)


if __name__ == "__main__":
    worker.serve(setup)
